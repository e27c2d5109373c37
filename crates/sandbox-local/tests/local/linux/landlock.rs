//! From inside a sandbox that has no namespaces: each attempt to get out must fail here too.

use std::collections::BTreeMap;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::Trial;
use nix::libc;
use russh_sftp::client::SftpSession;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use sandbox_core::protocol::{JOB, JOB_FOLLOW, JOB_SUBSYSTEM};
use sandbox_core::{ByteSize, DeleteOptions, SandboxBackend, SandboxInfo, SandboxSpec};
use sandbox_local::IsolationLevel;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};
use tokio::io::AsyncWriteExt;

use super::confinement::{
    CALLS_THAT_LEAD_OUT, a_fork_bomb_is_stopped_by, a_memory_hog_is_stopped_by,
    refused_by_the_filter,
};
use super::lifecycle::{a_dropped_create_leaves_nothing_by, lasting, supervisor};
use super::support::{Result, Shell, World, collect, eventually, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("landlock_is_what_it_says", landlock_is_what_it_says),
        trial("landlock_lets_work_be_done", landlock_lets_work_be_done),
        trial(
            "landlock_closes_the_files_of_the_outside",
            landlock_closes_the_files_of_the_outside,
        ),
        trial(
            "landlock_changes_nothing_outside",
            landlock_changes_nothing_outside,
        ),
        trial("landlock_reaches_no_sockets", landlock_reaches_no_sockets),
        trial(
            "landlock_touches_no_other_process",
            landlock_touches_no_other_process,
        ),
        trial(
            "landlock_opens_no_terminal_of_others",
            landlock_opens_no_terminal_of_others,
        ),
        trial(
            "landlock_refuses_calls_that_lead_out",
            landlock_refuses_calls_that_lead_out,
        ),
        trial(
            "landlock_sandboxes_do_not_see_each_other",
            landlock_sandboxes_do_not_see_each_other,
        ),
        trial("landlock_makes_nobody_root", landlock_makes_nobody_root),
        trial("landlock_stops_a_fork_bomb", || {
            a_fork_bomb_is_stopped_by(IsolationLevel::Landlock)
        }),
        trial("landlock_stops_a_memory_hog", || {
            a_memory_hog_is_stopped_by(IsolationLevel::Landlock)
        }),
        trial("a_dropped_create_by_landlock_leaves_nothing", || {
            a_dropped_create_leaves_nothing_by(IsolationLevel::Landlock)
        }),
        trial("landlock_leaves_no_process", landlock_leaves_no_process),
    ]
}

/// From here on this process and what it starts find no Landlock, as on an older kernel.
pub(crate) fn switch_off() -> Result {
    let rules: BTreeMap<_, _> = [(libc::SYS_landlock_create_ruleset, vec![])].into();
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, absent, arch)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}

async fn landlocked() -> Result<(World, SandboxInfo)> {
    let world = World::with(|options| options.isolation = IsolationLevel::Landlock)?;
    let info = world.create().await?;
    Ok((world, info))
}

/// The user id that a sandbox has here.
async fn uid_of(world: &World, info: &SandboxInfo) -> Result<u32> {
    Ok(world.run(info, "id -u").await?.stdout.trim().parse()?)
}

async fn landlock_is_what_it_says() -> Result {
    let (world, info) = landlocked().await?;
    assert_eq!(info.isolation.kind, "landlock");
    for means in [
        "landlock files",
        "landlock signals",
        "seccomp",
        "no new sockets",
        "no_new_privs",
    ] {
        assert!(
            info.isolation
                .applied
                .iter()
                .any(|applied| applied == means),
            "{:?}",
            info.isolation
        );
    }
    let home = info.home.clone().unwrap_or_default();
    let ran = world
        .run(
            &info,
            "pwd; echo $HOME; umask; ls -A; echo x > $TMPDIR/t && cat $TMPDIR/t; cd /tmp && ls",
        )
        .await?;
    assert_eq!(ran.stdout, format!("{home}\n{home}\n0022\nx\n"), "{ran:?}");
    let uid = uid_of(&world, &info).await?;
    assert!(
        uid != 0 && (geteuid().is_root() || uid == geteuid().as_raw()),
        "{uid}"
    );
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let error = world
        .backend
        .create(spec)
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(error.to_string().contains("disk"), "{error}");
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.nothing_is_left(&info).await?;
    assert!(!std::path::Path::new(&home).exists(), "{home} is left");
    Ok(())
}

async fn landlock_lets_work_be_done() -> Result {
    let (world, info) = landlocked().await?;
    let script = "mkdir -p a/b && echo x > a/b/f && mv a/b/f a/g && ln -s g a/l && cat a/l && rm -r a && head -c 4 /dev/urandom | wc -c \
                  && printf '#!/bin/sh\\necho ran' > s && sh ./s && echo piped | cat > /dev/null && cat < /dev/null; echo $((6*7)) | tr 4 4";
    let ran = world.run(&info, script).await?;
    assert_eq!(
        (ran.code, &*ran.stdout),
        (Some(0), "x\n4\nran\n42\n"),
        "{ran:?}"
    );
    for probe in ["threads", "run /bin/true", "call stream-pair"] {
        let answer = world.probe(&info, probe).await?;
        assert!(answer.starts_with("done"), "{probe}: {answer}");
    }
    let shell = Shell::open(&world.backend.access(&info.id).await?).await?;

    let channel = shell.channel().await?;
    channel.request_subsystem(true, "sftp").await?;
    let sftp = SftpSession::new(channel.into_stream()).await?;
    let content = vec![7_u8; 300_000];
    let mut file = sftp.create("uploaded").await?;
    file.write_all(&content).await?;
    file.shutdown().await?;
    sftp.rename("uploaded", "renamed").await?;
    assert!(
        sftp.read("renamed").await? == content,
        "what was uploaded was not downloaded"
    );
    assert!(sftp.read("/etc/shadow").await.is_err() && sftp.read("/etc/passwd").await.is_err());

    let channel = shell.channel().await?;
    channel
        .request_pty(true, "xterm", 80, 24, 0, 0, &[])
        .await?;
    channel
        .exec(true, "tty && stty size && echo typed > /dev/tty")
        .await?;
    let ran = collect(channel).await?;
    assert!(
        ran.code == Some(0)
            && ran.stdout.starts_with("/dev/pts/")
            && ran.stdout.ends_with("24 80\r\ntyped\r\n"),
        "{ran:?}"
    );

    // What one command started, another can end.
    let started = world
        .run(&info, "sleep 600 > /dev/null 2>&1 & echo $!")
        .await?
        .stdout;
    let ran = world
        .run(&info, &format!("kill {}", started.trim()))
        .await?;
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let channel = shell.channel().await?;
    channel.set_env(true, JOB, "build").await?;
    channel.exec(true, "echo built; exit 5").await?;
    assert_eq!(collect(channel).await?.code, Some(0));
    let channel = shell.channel().await?;
    channel.set_env(true, JOB, "build").await?;
    channel.set_env(true, JOB_FOLLOW, "1").await?;
    channel.request_subsystem(true, JOB_SUBSYSTEM).await?;
    let ran = collect(channel).await?;
    assert_eq!((ran.code, &*ran.stdout), (Some(5), "built\n"), "{ran:?}");
    Ok(())
}

async fn landlock_closes_the_files_of_the_outside() -> Result {
    let (world, info) = landlocked().await?;
    let secret = world.path().join("secret");
    std::fs::write(&secret, "secret")?;
    // For everybody, as far as the file system goes.
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755))?;
    let public = world.path().join("public");
    std::fs::write(&public, "public")?;
    let home = std::env::var("HOME").unwrap_or("/root".into());
    let state = world.state(&info);
    let mut paths = vec![format!("{home}/."), home];
    paths.extend(
        [
            &secret,
            &public,
            &state,
            &state.join("record.json"),
            &state.join("client_key"),
        ]
        .map(|path| path.display().to_string()),
    );
    paths.extend(
        [
            "/",
            "/etc",
            "/etc/passwd",
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/ssh",
            "/etc/kubernetes",
            "/etc/machine-id",
            "/etc/ssl/private",
            "/root",
            "/home",
            "/tmp",
            "/var",
            "/var/tmp",
            "/run",
            "/sys",
            "/sys/kernel",
            "/boot",
            "/dev",
            "/dev/shm",
            "/dev/mem",
            "/dev/kmsg",
            "/dev/vda",
            "/dev/fuse",
            "/dev/kvm",
            "/proc",
            "/proc/1",
            "/proc/1/environ",
            "/proc/self/status",
            "/proc/self/mounts",
            "/proc/cpuinfo",
            "/proc/kcore",
            "/proc/1/root/etc/shadow",
            "/proc/self/root/etc/shadow",
            "/proc/self/cwd/../../record.json",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        world.refused(&info, &format!("read {path}")).await?;
        world.refused(&info, &format!("list {path}")).await?;
    }
    // Nor by another name for them.
    let ran = world
        .run(
            &info,
            &format!(
                "ln -s {0} soft; cat soft; ln {0} hard; cat hard; cp {0} copy; mv {0} moved; ls -A",
                public.display()
            ),
        )
        .await?;
    assert_eq!(ran.stdout, "soft\n", "{ran:?}");
    assert_eq!(std::fs::read_to_string(public)?, "public");
    Ok(())
}

async fn landlock_changes_nothing_outside() -> Result {
    let shown = tempfile::NamedTempFile::new()?;
    let world = World::with(|options| {
        options.isolation = IsolationLevel::Landlock;
        options.read_only_paths.push(shown.path().to_owned());
    })?;
    let info = world.create().await?;
    std::fs::set_permissions(shown.path(), std::fs::Permissions::from_mode(0o644))?;
    assert!(
        world
            .probe(&info, &format!("read {}", shown.path().display()))
            .await?
            .starts_with("done")
    );
    for probe in ["write", "chmod", "fchmod"] {
        world
            .refused(&info, &format!("{probe} {}", shown.path().display()))
            .await?;
    }
    assert_eq!(shown.as_file().metadata()?.mode() & 0o7777, 0o644);
    let program = std::env::current_exe()?;
    let place = world.path().join("open-to-all");
    std::fs::create_dir(&place)?;
    for path in [world.path(), &place] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777))?;
    }
    let file = place.join("file");
    std::fs::write(&file, "")?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
    let place = place.display();
    for path in [
        "/usr/bin/new",
        "/etc/new",
        "/new",
        "/dev/new",
        "/dev/shm/new",
        "/tmp/new",
        "/var/tmp/new",
        "/run/new",
        &program.display().to_string(),
        &format!("{place}/file"),
        &format!("{place}/new"),
        "/proc/sys/kernel/core_pattern",
        "/proc/self/oom_score_adj",
        "/proc/self/uid_map",
        "/sys/fs/cgroup/new",
    ] {
        world.refused(&info, &format!("write {path}")).await?;
    }
    // What Landlock knows nothing of.
    let before = std::fs::metadata(&file)?;
    for probe in ["chmod", "touch", "xattr"] {
        world
            .refused(&info, &format!("{probe} {place}/file"))
            .await?;
    }
    let ran = world.run(&info, &format!("mkdir {place}/d; ln -s x {place}/l; mkfifo {place}/p; rm {place}/file; chgrp 0 {place}/file; echo {place}/*")).await?;
    let after = std::fs::metadata(&file)?;
    let seen = |meta: &std::fs::Metadata| {
        (
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.ctime_nsec(),
        )
    };
    assert_eq!(seen(&before), seen(&after), "{ran:?}");
    assert_eq!(std::fs::read_dir(place.to_string())?.count(), 1, "{ran:?}");
    Ok(())
}

async fn landlock_reaches_no_sockets() -> Result {
    let (world, info) = landlocked().await?;
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755))?;
    let tcp = TcpListener::bind("127.0.0.1:0")?;
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.set_nonblocking(true)?;
    let path = world.path().join("docker.sock");
    let _listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777))?;
    let name = format!("sandbox-test-{}", info.uid);
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    for probe in [
        format!("tcp {}", tcp.local_addr()?),
        "tcp 192.0.2.1:80".to_owned(),
        format!("udp {}", udp.local_addr()?),
        format!("unix {}", path.display()),
        format!("unix {}", world.state(&info).join("ssh.sock").display()),
        format!("abstract {name}"),
    ] {
        let answer = world.probe(&info, &probe).await?;
        assert!(
            answer.starts_with("refused") && answer.contains("os error 1)"),
            "{probe}: {answer}"
        );
    }
    assert!(udp.recv(&mut [0; 9]).is_err(), "a datagram came out");
    Ok(())
}

async fn landlock_touches_no_other_process() -> Result {
    let (world, info) = landlocked().await?;
    // With the very user id of the sandbox, so that nothing but its confinement is in the way.
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("600");
    if geteuid().is_root() {
        sleep.uid(uid_of(&world, &info).await?);
    }
    let mut outside = sleep.spawn()?;
    let (pid, me) = (outside.id(), supervisor(&world, &info)?);
    let mut result = Ok(());
    for probe in ["kill", "limit", "renice"]
        .map(|probe| format!("{probe} {pid}"))
        .into_iter()
        .chain([
            format!("kill {}", me.as_raw_nonzero()),
            format!("read /proc/{pid}/environ"),
            format!("read /proc/{pid}/mem"),
            format!("list /proc/{pid}/root/"),
            format!("list /proc/{pid}/fd"),
            format!("read /proc/{}/environ", me.as_raw_nonzero()),
        ])
    {
        // With an id of its own there is nobody else whose limits it could set.
        let by_id_alone =
            geteuid().is_root() && !probe.starts_with("kill") && !probe.contains("/proc");
        if !by_id_alone {
            result = result.and(world.refused(&info, &probe).await);
        }
    }
    assert!(outside.try_wait()?.is_none(), "it was killed");
    outside.kill()?;
    outside.wait()?;
    result?;
    // Its own server and its keeper are others too.
    let ran = world.run(&info, "kill -9 $PPID; kill -STOP $PPID; kill -TERM -1; cat /proc/$PPID/environ /proc/$PPID/maps /proc/$PPID/mem; ls /proc/$PPID/fd /proc/$PPID/task; echo alive").await?;
    assert!(ran.stdout == "alive\n" || ran.stdout.is_empty(), "{ran:?}");
    let ran = world
        .run(&info, "kill -9 $PPID; kill -STOP $PPID; echo alive; env")
        .await?;
    assert!(ran.stdout.starts_with("alive\n"), "{ran:?}");
    // Nor does it hand anything down but the standard streams.
    assert_eq!(world.probe(&info, "descriptors").await?, "done 0 1 2");
    assert!(
        !ran.stdout.contains("CARGO") && !ran.stdout.contains("OPENSSH"),
        "{}",
        ran.stdout
    );
    Ok(())
}

async fn landlock_opens_no_terminal_of_others() -> Result {
    let (world, info) = landlocked().await?;
    let terminal = nix::pty::openpty(None, None)?;
    let path = nix::unistd::ttyname(&terminal.slave)?;
    for probe in ["read", "write"] {
        world
            .refused(&info, &format!("{probe} {}", path.display()))
            .await?;
    }
    Ok(())
}

async fn landlock_refuses_calls_that_lead_out() -> Result {
    let (world, info) = landlocked().await?;
    let here = [
        "socket-unix",
        "socket-inet",
        "socket-inet6",
        "raw-socket",
        "route-socket",
        "datagram-pair",
        "datagram-pair-flags",
        "raw-pair",
        "connect",
        "bind",
        "shmget",
        "shmat",
        "semget",
        "msgget",
        "mq_open",
        "inotify_add_watch",
    ];
    for call in CALLS_THAT_LEAD_OUT.iter().chain(&here) {
        refused_by_the_filter(&world, &info, call).await?;
    }
    world.refused(&info, "call future-call").await
}

async fn landlock_sandboxes_do_not_see_each_other() -> Result {
    let (world, one) = landlocked().await?;
    let other = world.create().await?;
    assert!(
        world
            .run(&other, "echo secret > mine; echo secret > $TMPDIR/mine")
            .await?
            .code
            == Some(0)
    );
    let home = other.home.clone().ok_or("no home")?;
    let dir = world.state(&other);
    for path in [format!("{home}/mine"), format!("{home}/../tmp/mine")]
        .into_iter()
        .chain(
            ["ssh.sock", "client_key", "log", "record.json"]
                .map(|name| dir.join(name).display().to_string()),
        )
    {
        world.refused(&one, &format!("read {path}")).await?;
        world.refused(&one, &format!("write {path}")).await?;
    }
    world.refused(&one, &format!("list {home}")).await?;
    world
        .refused(&one, &format!("unix {}", dir.join("ssh.sock").display()))
        .await?;
    let shell = Shell::open(&world.backend.access(&other.id).await?).await?;
    let sleeping = tokio::spawn(async move { shell.run("echo $$ > pid; exec sleep 600").await });
    let file = std::path::Path::new(&home).join("pid");
    eventually("it runs", || {
        std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await?;
    world
        .refused(
            &one,
            &format!("kill {}", std::fs::read_to_string(&file)?.trim()),
        )
        .await?;
    if geteuid().is_root() {
        assert_ne!(uid_of(&world, &one).await?, uid_of(&world, &other).await?);
    }
    assert!(!sleeping.is_finished());
    Ok(())
}

async fn landlock_makes_nobody_root() -> Result {
    let (world, info) = landlocked().await?;
    world.refused(&info, "call setuid-root").await?;
    let uid = uid_of(&world, &info).await?;
    let setuid = std::path::Path::new(info.home.as_deref().unwrap_or_default()).join("id");
    std::fs::copy("/usr/bin/id", &setuid)?;
    std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755))?;
    assert_eq!(
        world.run(&info, "./id -u").await?.stdout,
        format!("{uid}\n")
    );
    // Its own /proc is closed to it; from here it is seen.
    let shell = Shell::open(&world.backend.access(&info.id).await?).await?;
    let running = tokio::spawn(async move { shell.run("echo $$ > pid; exec sleep 600").await });
    let file = setuid.with_file_name("pid");
    eventually("it runs", || {
        std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await?;
    let status = std::fs::read_to_string(format!(
        "/proc/{}/status",
        std::fs::read_to_string(&file)?.trim()
    ))?;
    running.abort();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
    };
    for sets in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(sets), ["0000000000000000"], "{sets} {status}");
    }
    if geteuid().is_root() {
        assert_eq!(field("CapBnd:"), ["0000000000000000"]);
        assert_eq!(field("Groups:"), [uid.to_string()]);
    }
    assert_eq!(
        (field("NoNewPrivs:"), field("Seccomp:")),
        (vec!["1"], vec!["2"])
    );
    assert_eq!(field("Uid:"), vec![uid.to_string(); 4]);
    Ok(())
}

/// Processes whose arguments hold this text.
fn running(text: &str) -> usize {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).contains(text))
        .count()
}

async fn landlock_leaves_no_process() -> Result {
    for (number, end) in [
        "delete",
        "kill the supervisor",
        "kill the keeper",
        "kill both",
    ]
    .into_iter()
    .enumerate()
    {
        let world = World::with(|options| options.isolation = IsolationLevel::Landlock)?;
        let info = world.backend.create(lasting()).await?;
        let mark = format!("6{number}{:05}.25", std::process::id() % 100_000);
        let script = format!(
            "for i in 1 2 3; do setsid sh -c 'sleep {mark} & sleep {mark}' > /dev/null 2>&1 < /dev/null & done; echo started"
        );
        assert_eq!(world.run(&info, &script).await?.stdout, "started\n");
        eventually("they run", || running(&mark) >= 6).await?;
        let record = std::fs::read_to_string(world.state(&info).join("record.json"))?;
        let record: serde_json::Value = serde_json::from_str(&record)?;
        let keeper = record["server"]["pid"]
            .as_i64()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .ok_or("no keeper")?;
        let supervisor = supervisor(&world, &info)?;
        match end {
            "delete" => {
                world
                    .backend
                    .delete(&info.id, DeleteOptions::default())
                    .await?
            }
            "kill the supervisor" => {
                kill_process(supervisor, Signal::KILL)?;
                // Nobody sweeps, and they end.
                eventually("nothing runs", || running(&mark) == 0).await?;
            }
            "kill the keeper" => {
                kill_process(keeper, Signal::KILL)?;
                eventually("nothing is left", || !world.state(&info).exists()).await?;
            }
            // With no control group, this is what leaves them.
            _ if record["cgroups"].as_array().is_none_or(Vec::is_empty) => continue,
            _ => {
                kill_process(supervisor, Signal::KILL)?;
                kill_process(keeper, Signal::KILL)?;
            }
        }
        world
            .backend
            .delete(&info.id, DeleteOptions::default())
            .await?;
        assert_eq!(running(&mark), 0, "{end}: a process is left");
        world.nothing_is_left(&info).await?;
    }
    Ok(())
}
