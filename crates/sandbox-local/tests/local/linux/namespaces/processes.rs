//! Sockets, processes, privileges and other sandboxes, as a sandbox with namespaces reaches them.

use std::os::unix::fs::PermissionsExt;

use libtest_mimic::Trial;

use crate::linux::support::{OutsideSockets, Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        namespaces_isolate_sockets,
        namespaces_isolate_processes,
        namespaces_protect_the_server,
        namespaces_prevent_root,
        namespaces_isolate_sandboxes,
    ]
}

async fn namespaces_isolate_sockets() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let sockets = OutsideSockets::open(&world, &info)?;
    for probe in sockets.probes() {
        world.assert_refused(&info, probe).await?;
    }
    sockets.assert_no_datagram();
    world.assert_refused(&info, "udp 192.0.2.1:53").await?;
    for path in [
        "/run/docker.sock",
        "/var/run/docker.sock",
        "/run/dbus/system_bus_socket",
        "/tmp/.X11-unix/X0",
    ] {
        world.assert_refused(&info, &format!("unix {path}")).await?;
    }
    Ok(())
}

async fn namespaces_isolate_processes() -> Result {
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
        .assert_refused(&info, &format!("kill {}", outside.id()))
        .await;
    assert!(outside.try_wait()?.is_none(), "it was killed");
    outside.kill()?;
    outside.wait()?;
    result?;
    // The server, which is pid 1, ignores signals from inside.
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

async fn namespaces_protect_the_server() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    for file in ["environ", "mem", "maps", "auxv", "io", "syscall"] {
        world
            .assert_refused(&info, &format!("read /proc/1/{file}"))
            .await?;
    }
    for dir in ["fd", "root", "cwd", "map_files", "ns", "task/1/fd"] {
        world
            .assert_refused(&info, &format!("list /proc/1/{dir}"))
            .await?;
    }
    for link in ["exe", "root", "cwd", "fd/3", "ns/net"] {
        world
            .assert_refused(&info, &format!("link /proc/1/{link}"))
            .await?;
    }
    for call in ["ptrace", "process_vm_readv", "pidfd_getfd"] {
        world.assert_refused(&info, &format!("call {call}")).await?;
    }
    // Commands inherit only the standard streams. `ls` opens another descriptor.
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

async fn namespaces_prevent_root() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    world.assert_refused(&info, "call setuid-root").await?;
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
        let is_expected = match line.split(':').next().unwrap_or_default() {
            "NoNewPrivs" => value == "1",
            "Seccomp" => value == "2",
            _ => value == "0000000000000000",
        };
        assert!(is_expected, "{line}");
    }
    Ok(())
}

async fn namespaces_isolate_sandboxes() -> Result {
    let world = World::new()?;
    let one = world.create().await?;
    let other = world.create().await?;
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
            .assert_refused(&one, &format!("read {}", dir.join(path).display()))
            .await?;
    }
    world
        .assert_refused(&one, &format!("unix {}", dir.join("ssh.sock").display()))
        .await?;
    // The directory of this program, which is mounted read-only, may be below /tmp.
    let program = std::env::current_exe()?;
    let program_dir = program
        .strip_prefix("/tmp")
        .ok()
        .and_then(|below| below.iter().next()?.to_str());
    let listing = world
        .run(&one, "ls -A; ls -A /tmp | grep -v ^.tmp")
        .await?
        .stdout;
    let others: Vec<_> = listing
        .lines()
        .filter(|line| Some(*line) != program_dir)
        .collect();
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
