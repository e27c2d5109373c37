//! From inside: each attempt to get out must fail.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use libtest_mimic::Trial;
use sandbox_core::{ByteSize, SandboxBackend, SandboxInfo, SandboxSpec};
use sandbox_local::IsolationLevel;

use super::support::{Result, World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("inside_is_an_ordinary_place", inside_is_an_ordinary_place),
        trial(
            "files_of_the_outside_are_not_there",
            files_of_the_outside_are_not_there,
        ),
        trial(
            "what_is_there_cannot_be_changed",
            what_is_there_cannot_be_changed,
        ),
        trial(
            "sockets_of_the_outside_are_not_reached",
            sockets_of_the_outside_are_not_reached,
        ),
        trial(
            "processes_of_the_outside_are_not_there",
            processes_of_the_outside_are_not_there,
        ),
        trial(
            "the_server_cannot_be_looked_into",
            the_server_cannot_be_looked_into,
        ),
        trial(
            "system_calls_that_lead_out_are_refused",
            system_calls_that_lead_out_are_refused,
        ),
        trial("nobody_becomes_root", nobody_becomes_root),
        trial(
            "sandboxes_do_not_see_each_other",
            sandboxes_do_not_see_each_other,
        ),
        trial("a_fork_bomb_is_stopped", a_fork_bomb_is_stopped),
        trial("a_memory_hog_is_stopped", a_memory_hog_is_stopped),
        trial("a_disk_limit_holds", a_disk_limit_holds),
        trial(
            "the_level_none_is_what_it_says",
            the_level_none_is_what_it_says,
        ),
    ]
}

async fn inside_is_an_ordinary_place() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    assert_eq!(info.isolation.kind, "namespaces");
    for means in [
        "user namespace",
        "network namespace",
        "seccomp",
        "no capabilities",
        "no_new_privs",
    ] {
        assert!(
            info.isolation
                .applied
                .iter()
                .any(|applied| applied == means),
            "{means}: {:?}",
            info.isolation
        );
    }
    let ran = world
        .run(
            &info,
            "id -u; id -un; id -g; pwd; hostname; echo $HOME; ls -A; umask",
        )
        .await?;
    let expected = format!(
        "1000\nsandbox\n1000\n/home/sandbox\n{}\n/home/sandbox\n0022\n",
        info.id
    );
    assert_eq!(
        (ran.code, ran.stdout),
        (Some(0), expected),
        "{}",
        ran.stderr
    );
    let script = "echo x > file && cat file /tmp/../home/sandbox/file && echo y > /tmp/t && echo z > /dev/shm/z && echo r > /run/r \
                  && head -c 4 /dev/urandom | wc -c && cat /dev/null && tty; cat /proc/self/mounts > /dev/null && ls /dev/pts /dev/fd/ | wc -l";
    let ran = world.run(&info, script).await?;
    assert!(
        ran.code == Some(0) && ran.stdout.starts_with("x\nx\n4\nnot a tty\n"),
        "{ran:?}"
    );
    for probe in [
        "threads",
        "tcp localhost:1",
        "call route-socket",
        "run /bin/true",
    ] {
        let answer = world.probe(&info, probe).await?;
        assert!(
            answer.starts_with("done") || answer.contains("Connection refused"),
            "{probe}: {answer}"
        );
    }
    Ok(())
}

async fn files_of_the_outside_are_not_there() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let secret = world.path().join("secret");
    std::fs::write(&secret, "secret")?;
    let home = std::env::var("HOME").unwrap_or("/root".into());
    let mut paths = vec![
        format!("{home}/."),
        secret.display().to_string(),
        world.state(&info).display().to_string(),
    ];
    paths.extend(
        [
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/ssh",
            "/etc/kubernetes",
            "/etc/machine-id",
            "/etc/ssl/private",
            "/root",
            "/sys/kernel",
            "/boot",
        ]
        .map(str::to_owned),
    );
    paths.extend(
        [
            "/dev/mem",
            "/dev/kmsg",
            "/dev/vda",
            "/dev/sda",
            "/dev/fuse",
            "/dev/kvm",
            "/proc/kcore",
            "/proc/1/root/etc/shadow",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        world.refused(&info, &format!("read {path}")).await?;
        world.refused(&info, &format!("list {path}")).await?;
    }
    let ran = world
        .run(
            &info,
            "cat /etc/passwd /etc/group; ls /home /proc/sys/../acpi /proc/scsi 2>/dev/null",
        )
        .await?;
    assert!(!ran.stdout.contains("root"), "{}", ran.stdout);
    let mounts = world.run(&info, "cat /proc/self/mountinfo").await?.stdout;
    for line in mounts
        .lines()
        .filter(|line| !line.contains(" /dev") && !line.contains(" /proc/"))
    {
        assert!(line.contains("nosuid") && line.contains("nodev"), "{line}");
    }
    Ok(())
}

async fn what_is_there_cannot_be_changed() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let program = std::env::current_exe()?;
    for path in [
        "/usr/bin/new",
        "/bin/new",
        "/etc/passwd",
        "/etc/new",
        "/new",
        "/dev/new",
        "/lib/new",
        "/var/new",
        &program.display().to_string(),
    ] {
        world.refused(&info, &format!("write {path}")).await?;
    }
    for path in [
        "kernel/hostname",
        "kernel/core_pattern",
        "net/ipv4/ip_forward",
        "vm/overcommit_memory",
        "user/max_user_namespaces",
    ] {
        world
            .refused(&info, &format!("write /proc/sys/{path}"))
            .await?;
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/self/uid_map",
        "/proc/self/oom_score_adj/x",
    ] {
        world.refused(&info, &format!("write {path}")).await?;
    }
    Ok(())
}

async fn sockets_of_the_outside_are_not_reached() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    world
        .refused(&info, &format!("tcp {}", tcp.local_addr()?))
        .await?;
    world.refused(&info, "tcp 192.0.2.1:80").await?;
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.set_nonblocking(true)?;
    world
        .refused(&info, &format!("udp {}", udp.local_addr()?))
        .await?;
    assert!(udp.recv(&mut [0; 9]).is_err(), "a datagram came out");
    world.refused(&info, "udp 192.0.2.1:53").await?;
    // As those of docker (a path) and of D-Bus (also abstract).
    let path = world.path().join("docker.sock");
    let _listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    world
        .refused(&info, &format!("unix {}", path.display()))
        .await?;
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/dbus/system_bus_socket",
        "/tmp/.X11-unix/X0",
    ] {
        world.refused(&info, &format!("unix {path}")).await?;
    }
    let name = format!("sandbox-test-{}", info.uid);
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    world.refused(&info, &format!("abstract {name}")).await
}

async fn processes_of_the_outside_are_not_there() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let pids = world.probe(&info, "pids").await?;
    assert!(
        pids.split_whitespace()
            .skip(1)
            .filter_map(|pid| pid.parse::<u32>().ok())
            .all(|pid| pid < 100),
        "{pids}"
    );
    let mut outside = std::process::Command::new("/bin/sleep")
        .arg("600")
        .spawn()?;
    let result = world
        .refused(&info, &format!("kill {}", outside.id()))
        .await;
    assert!(outside.try_wait()?.is_none(), "it was killed");
    outside.kill()?;
    outside.wait()?;
    result?;
    // The first process takes no signal from inside.
    world.probe(&info, "kill 1").await?;
    assert_eq!(
        world
            .run(&info, "kill -TERM 1; kill -INT 1; echo alive")
            .await?
            .stdout,
        "alive\n"
    );
    assert_eq!(world.run(&info, "echo alive").await?.stdout, "alive\n");
    Ok(())
}

async fn the_server_cannot_be_looked_into() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    for file in ["environ", "mem", "maps", "auxv", "io", "syscall"] {
        world
            .refused(&info, &format!("read /proc/1/{file}"))
            .await?;
    }
    for dir in ["fd", "root", "cwd", "map_files", "ns", "task/1/fd"] {
        world.refused(&info, &format!("list /proc/1/{dir}")).await?;
    }
    for link in ["exe", "root", "cwd", "fd/3", "ns/net"] {
        world
            .refused(&info, &format!("link /proc/1/{link}"))
            .await?;
    }
    for call in ["ptrace", "process_vm_readv", "pidfd_getfd"] {
        world.refused(&info, &format!("call {call}")).await?;
    }
    // Nor does it hand anything down: standard streams, and what `ls` itself opens.
    let ran = world.run(&info, "ls -l /proc/self/fd; env").await?;
    assert!(
        !ran.stdout.contains("ssh.sock") && !ran.stdout.contains(&*world.path().to_string_lossy()),
        "{}",
        ran.stdout
    );
    assert!(
        !ran.stdout.contains("CARGO") && !ran.stdout.contains("OPENSSH"),
        "{}",
        ran.stdout
    );
    Ok(())
}

async fn system_calls_that_lead_out_are_refused() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    for call in CALLS_THAT_LEAD_OUT {
        refused_by_the_filter(&world, &info, call).await?;
    }
    world.refused(&info, "call future-call").await?;
    world.refused(&info, "call raw-socket").await
}

/// By the filter, and not by a kernel which lacks the call or looked at its arguments.
pub(crate) async fn refused_by_the_filter(world: &World, info: &SandboxInfo, call: &str) -> Result {
    let answer = world.probe(info, &format!("call {call}")).await?;
    let expected = match call {
        "clone3" | "x32-getpid" | "x32-ptrace" => "os error 38",
        _ => "os error 1)",
    };
    assert!(answer.contains(expected), "{call}: {answer}");
    Ok(())
}

pub(crate) const CALLS_THAT_LEAD_OUT: &[&str] = &[
    "mount",
    "remount",
    "umount",
    "open_tree",
    "unshare-user",
    "unshare-net",
    "clone-user",
    "clone3",
    "setns",
    "ptrace",
    "process_vm_readv",
    "pidfd_getfd",
    "keyctl",
    "add_key",
    "bpf",
    "perf_event_open",
    "io_uring_setup",
    "userfaultfd",
    "name_to_handle_at",
    "open_by_handle_at",
    "reboot",
    "settimeofday",
    "finit_module",
    "kexec_load",
    "syslog",
    "chroot",
    "packet-socket",
    "vsock-socket",
    "alg-socket",
    "uevent-socket",
    "type-into-terminal",
    "type-into-terminal-64",
    #[cfg(target_arch = "x86_64")]
    "x32-getpid",
    #[cfg(target_arch = "x86_64")]
    "x32-ptrace",
];

async fn nobody_becomes_root() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    world.refused(&info, "call setuid-root").await?;
    let setuid = world.state(&info).join("disk/home/id");
    std::fs::copy("/usr/bin/id", &setuid)?;
    std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755))?;
    let ran = world.run(&info, "./id -u; /usr/bin/id -u; cat /proc/self/uid_map; grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status").await?;
    let mut lines = ran.stdout.lines();
    assert_eq!(
        (lines.next(), lines.next()),
        (Some("1000"), Some("1000")),
        "{ran:?}"
    );
    let outside = rustix::process::geteuid();
    let map: Vec<_> = lines
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert!(
        map[0] == "1000" && map[1] != "0" && map[2] == "1",
        "{map:?}"
    );
    assert!(
        outside.is_root() || map[1] == outside.as_raw().to_string(),
        "{map:?}"
    );
    for line in lines {
        let value = line.split_whitespace().nth(1).unwrap_or_default();
        let good = match line.split(':').next().unwrap_or_default() {
            "NoNewPrivs" => value == "1",
            "Seccomp" => value == "2",
            _ => value == "0000000000000000",
        };
        assert!(good, "{line}");
    }
    Ok(())
}

async fn sandboxes_do_not_see_each_other() -> Result {
    let world = World::new()?;
    let (one, other) = (world.create().await?, world.create().await?);
    assert!(
        world
            .run(&other, "echo secret > mine; echo secret > /tmp/mine")
            .await?
            .code
            == Some(0)
    );
    let dir = world.state(&other);
    for path in ["ssh.sock", "client_key", "disk/home/mine", "log"] {
        world
            .refused(&one, &format!("read {}", dir.join(path).display()))
            .await?;
    }
    world
        .refused(&one, &format!("unix {}", dir.join("ssh.sock").display()))
        .await?;
    // The place of this very program may be shown in /tmp.
    let program = std::env::current_exe()?;
    let own = program
        .strip_prefix("/tmp")
        .ok()
        .and_then(|below| below.iter().next()?.to_str());
    let seen = world
        .run(&one, "ls -A; ls -A /tmp | grep -v ^.tmp")
        .await?
        .stdout;
    let others: Vec<_> = seen.lines().filter(|line| Some(*line) != own).collect();
    assert!(others.is_empty(), "{others:?}");
    if rustix::process::geteuid().is_root() {
        let uid = |text: String| text.split_whitespace().nth(1).map(str::to_owned);
        let maps = (
            world.run(&one, "cat /proc/self/uid_map").await?.stdout,
            world.run(&other, "cat /proc/self/uid_map").await?.stdout,
        );
        assert_ne!(uid(maps.0), uid(maps.1), "each has a user of its own");
    }
    let mode = std::fs::metadata(world.state(&one))?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
    Ok(())
}

async fn a_fork_bomb_is_stopped() -> Result {
    a_fork_bomb_is_stopped_by(IsolationLevel::Namespaces).await
}

pub(crate) async fn a_fork_bomb_is_stopped_by(level: IsolationLevel) -> Result {
    let world = World::with(|options| {
        (options.default_limits.pids, options.isolation) = (Some(60), level);
    })?;
    let info = world.create().await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "pids" && limit.value == "60"),
        "{:?}",
        info.limits
    );
    world.refused(&info, "processes 100").await?;
    // Where the user has others, they may have become more for a moment.
    let mut answer = String::new();
    for _ in 0..100 {
        answer = world.probe(&info, "processes 10").await?;
        if answer.starts_with("done") {
            break;
        }
    }
    assert!(answer.starts_with("done"), "{answer}");
    // A real one, which is still at work when the sandbox is deleted.
    let shell = super::support::Shell::open(&world.backend.access(&info.id).await?).await?;
    let program = std::env::current_exe()?;
    let bomb = tokio::spawn(async move {
        shell
            .run(&format!("{} probe bomb", program.display()))
            .await
    });
    let room = || async {
        world
            .run(&info, "true")
            .await
            .is_ok_and(|ran| ran.code == Some(0))
    };
    let deadline = sandbox_core::Deadline::from_now(std::time::Duration::from_secs(60));
    while room().await && !deadline.has_passed() {}
    assert!(!deadline.has_passed(), "the bomb does not go off");
    world.backend.delete(&info.id, Default::default()).await?;
    bomb.abort();
    world.nothing_is_left(&info).await
}

async fn a_memory_hog_is_stopped() -> Result {
    a_memory_hog_is_stopped_by(IsolationLevel::Namespaces).await
}

pub(crate) async fn a_memory_hog_is_stopped_by(level: IsolationLevel) -> Result {
    let world = World::with(|options| {
        (options.default_limits.memory, options.isolation) = (Some(ByteSize::from_mib(96)), level);
    })?;
    let info = world.create().await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "memory" && limit.value == "96Mi"),
        "{:?}",
        info.limits
    );
    let program = std::env::current_exe()?.display().to_string();
    let ran = world
        .run(&info, &format!("{program} probe memory 400"))
        .await?;
    assert!(!ran.stdout.starts_with("done"), "{ran:?}");
    let answer = world.probe(&info, "memory 8").await?;
    assert_eq!(answer, "done 8 MiB", "the sandbox goes on");
    let by_group = info
        .limits
        .iter()
        .any(|limit| limit.resource == "memory" && limit.enforced_by.starts_with("cgroup"));
    if by_group {
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.summary.contains("memory ran out"),
            "{diagnosis:?}"
        );
    }
    Ok(())
}

async fn a_disk_limit_holds() -> Result {
    let world = World::new()?;
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let info = world.backend.create(spec).await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "disk" && limit.enforced_by == "tmpfs"),
        "{:?}",
        info.limits
    );
    let ran = world
        .run(
            &info,
            "head -c 3000000 /dev/zero > a && head -c 3000000 /dev/zero > /tmp/b",
        )
        .await?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("No space left"),
        "{ran:?}"
    );
    let ran = world
        .run(
            &info,
            "rm a /tmp/b && ls -la / && mkdir d && echo x > d/x && cat d/x && stat -c %a /tmp . && ls /disk",
        )
        .await?;
    assert!(ran.stdout.ends_with("x\n1777\n755\n"), "{ran:?}");
    Ok(())
}

async fn the_level_none_is_what_it_says() -> Result {
    let world = World::with(|options| options.isolation = IsolationLevel::None)?;
    let info = world.create().await?;
    assert_eq!(
        (info.isolation.kind.as_str(), info.isolation.applied.len()),
        ("none", 1),
        "{:?}",
        info.isolation
    );
    let ran = world
        .run(
            &info,
            "grep NoNewPrivs /proc/self/status | cut -f2; id -u; pwd; (setsid sleep 600 &) ; echo $HOME",
        )
        .await?;
    let home = info.home.clone().unwrap_or_default();
    assert_eq!(
        ran.stdout,
        format!(
            "1\n{}\n{home}\n{home}\n",
            rustix::process::geteuid().as_raw()
        ),
        "{}",
        ran.stderr
    );
    assert!(home.starts_with(&*world.path().to_string_lossy()));
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let error = world
        .backend
        .create(spec)
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(
        matches!(error, sandbox_core::Error::Unsupported { .. })
            && error.to_string().contains("disk"),
        "{error}"
    );
    world.backend.delete(&info.id, Default::default()).await?;
    world.nothing_is_left(&info).await
}
