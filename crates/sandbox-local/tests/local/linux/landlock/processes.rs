//! Sockets, processes, privileges and other sandboxes, as a sandbox with Landlock reaches them.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::geteuid;
use sandbox_core::SandboxBackend;

use crate::linux::support::{OutsideSockets, Result, Shell, World, trials, wait_until};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        landlock_denies_sockets,
        landlock_isolates_processes,
        landlock_denies_terminals_of_other_sessions,
        landlock_isolates_sandboxes,
        landlock_prevents_root,
    ]
}

async fn landlock_denies_sockets() -> Result {
    let (world, info) = World::with_landlock().await?;
    std::fs::set_permissions(world.path(), std::fs::Permissions::from_mode(0o755))?;
    let sockets = OutsideSockets::open(&world, &info)?;
    let own_socket = format!("unix {}", world.state(&info).join("ssh.sock").display());
    for probe in sockets.probes().iter().chain([&own_socket]) {
        let output = world.probe(&info, probe).await?;
        assert!(
            output.starts_with("refused") && output.contains("os error 1)"),
            "{probe}: {output}"
        );
    }
    sockets.assert_no_datagram();
    Ok(())
}

async fn landlock_isolates_processes() -> Result {
    let (world, info) = World::with_landlock().await?;
    // The process has the sandbox's uid, so that only the confinement can refuse access.
    let mut sleep = Command::new("/bin/sleep");
    sleep.arg("600");
    if geteuid().is_root() {
        sleep.uid(world.uid(&info).await?);
    }
    let mut outside = sleep.spawn()?;
    let pid = outside.id();
    let supervisor = world.supervisor_pid(&info)?;
    let mut result = Ok(());
    for probe in ["kill", "limit", "renice"]
        .map(|probe| format!("{probe} {pid}"))
        .into_iter()
        .chain([
            format!("kill {}", supervisor.as_raw_nonzero()),
            format!("read /proc/{pid}/environ"),
            format!("read /proc/{pid}/mem"),
            format!("list /proc/{pid}/root/"),
            format!("list /proc/{pid}/fd"),
            format!("read /proc/{}/environ", supervisor.as_raw_nonzero()),
        ])
    {
        // A sandbox with its own uid may set limits of processes with that uid.
        let is_allowed_by_uid =
            geteuid().is_root() && !probe.starts_with("kill") && !probe.contains("/proc");
        if !is_allowed_by_uid {
            result = result.and(world.assert_refused(&info, &probe).await);
        }
    }
    assert!(outside.try_wait()?.is_none(), "it was killed");
    outside.kill()?;
    outside.wait()?;
    result?;
    // The server and the keeper are isolated from commands, too.
    let ran = world.run(&info, "kill -9 $PPID; kill -STOP $PPID; kill -TERM -1; cat /proc/$PPID/environ /proc/$PPID/maps /proc/$PPID/mem; ls /proc/$PPID/fd /proc/$PPID/task; echo alive").await?;
    assert!(ran.stdout == "alive\n" || ran.stdout.is_empty(), "{ran:?}");
    let ran = world
        .run(&info, "kill -9 $PPID; kill -STOP $PPID; echo alive; env")
        .await?;
    assert!(ran.stdout.starts_with("alive\n"), "{ran:?}");
    // Commands inherit only the standard streams.
    assert_eq!(world.probe(&info, "descriptors").await?, "done 0 1 2");
    assert!(
        !ran.stdout.contains("CARGO") && !ran.stdout.contains("OPENSSH"),
        "{}",
        ran.stdout
    );
    Ok(())
}

async fn landlock_denies_terminals_of_other_sessions() -> Result {
    let (world, info) = World::with_landlock().await?;
    let terminal = nix::pty::openpty(None, None)?;
    let path = nix::unistd::ttyname(&terminal.slave)?;
    for probe in ["read", "write"] {
        world
            .assert_refused(&info, &format!("{probe} {}", path.display()))
            .await?;
    }
    Ok(())
}

async fn landlock_isolates_sandboxes() -> Result {
    let (world, one) = World::with_landlock().await?;
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
        world.assert_refused(&one, &format!("read {path}")).await?;
        world.assert_refused(&one, &format!("write {path}")).await?;
    }
    world.assert_refused(&one, &format!("list {home}")).await?;
    world
        .assert_refused(&one, &format!("unix {}", dir.join("ssh.sock").display()))
        .await?;
    let shell = Shell::open(&world.backend.access(&other.id).await?).await?;
    let sleeping = tokio::spawn(async move { shell.run("echo $$ > pid; exec sleep 600").await });
    let file = std::path::Path::new(&home).join("pid");
    wait_until("the command runs", || {
        std::fs::read_to_string(&file).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await?;
    world
        .assert_refused(
            &one,
            &format!("kill {}", std::fs::read_to_string(&file)?.trim()),
        )
        .await?;
    if geteuid().is_root() {
        assert_ne!(world.uid(&one).await?, world.uid(&other).await?);
    }
    assert!(!sleeping.is_finished());
    Ok(())
}

async fn landlock_prevents_root() -> Result {
    let (world, info) = World::with_landlock().await?;
    world.assert_refused(&info, "call setuid-root").await?;
    let uid = world.uid(&info).await?;
    let setuid = std::path::Path::new(info.home.as_deref().unwrap_or_default()).join("id");
    std::fs::copy("/usr/bin/id", &setuid)?;
    std::fs::set_permissions(&setuid, std::fs::Permissions::from_mode(0o4755))?;
    assert_eq!(
        world.run(&info, "./id -u").await?.stdout,
        format!("{uid}\n")
    );
    // The sandbox cannot read its /proc, but the test can.
    let shell = Shell::open(&world.backend.access(&info.id).await?).await?;
    let running = tokio::spawn(async move { shell.run("echo $$ > pid; exec sleep 600").await });
    let file = setuid.with_file_name("pid");
    wait_until("the command runs", || {
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
