//! Files and ordinary work in a sandbox with namespaces.

use libtest_mimic::Trial;
use sandbox_core::{SandboxBackend, SandboxSpec};

use crate::linux::support::{Result, World, assert_applied, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        namespaces_allow_ordinary_work,
        a_login_name_can_be_chosen,
        namespaces_hide_files_outside,
        namespaces_keep_the_system_read_only,
    ]
}

async fn namespaces_allow_ordinary_work() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    assert_eq!(info.isolation.kind, "namespaces");
    assert_applied(
        &info,
        &[
            "user namespace",
            "network namespace",
            "seccomp",
            "no capabilities",
            "no_new_privs",
        ],
    );
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
        let output = world.probe(&info, probe).await?;
        assert!(
            output.starts_with("done") || output.contains("Connection refused"),
            "{probe}: {output}"
        );
    }
    Ok(())
}

async fn a_login_name_can_be_chosen() -> Result {
    for disk in [None, Some("64Mi")] {
        let world = World::with_options(|options| options.user = "user".into())?;
        let info = match disk {
            None => world.create().await?,
            Some(size) => {
                let mut spec = SandboxSpec::default();
                spec.resources.disk = Some(size.parse()?);
                world.backend.create(spec).await?
            }
        };
        assert_eq!(info.user, "user");
        assert_eq!(info.home.as_deref(), Some("/home/user"));
        let script = "id -un; id -gn; pwd; echo $HOME $USER; ls /home; echo x > file && stat -c '%U %G' file";
        let ran = world.run(&info, script).await?;
        let expected = "user\nuser\n/home/user\n/home/user user\nuser\nuser user\n";
        assert_eq!(
            (ran.code, ran.stdout.as_str()),
            (Some(0), expected),
            "{}",
            ran.stderr
        );
    }
    for name in ["", "root", "nobody", "../x", "a:b", "A", "1a", "x\ny"] {
        let error = World::with_options(|options| options.user = name.into())
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(error.contains("login name"), "{name}: {error}");
    }
    Ok(())
}

async fn namespaces_hide_files_outside() -> Result {
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
        world.assert_refused(&info, &format!("read {path}")).await?;
        world.assert_refused(&info, &format!("list {path}")).await?;
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

async fn namespaces_keep_the_system_read_only() -> Result {
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
        world
            .assert_refused(&info, &format!("write {path}"))
            .await?;
    }
    for path in [
        "kernel/hostname",
        "kernel/core_pattern",
        "net/ipv4/ip_forward",
        "vm/overcommit_memory",
        "user/max_user_namespaces",
    ] {
        world
            .assert_refused(&info, &format!("write /proc/sys/{path}"))
            .await?;
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/self/uid_map",
        "/proc/self/oom_score_adj/x",
    ] {
        world
            .assert_refused(&info, &format!("write {path}"))
            .await?;
    }
    Ok(())
}
