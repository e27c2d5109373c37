//! Systems that do not permit user namespaces.

use std::process::{Command, Output};

use libtest_mimic::Trial;
use sandbox_core::SandboxBackend;

use super::support::{Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        without_user_namespaces_landlock_is_used,
        without_user_namespaces_it_fails_closed,
    ]
}

async fn without_user_namespaces_landlock_is_used() -> Result {
    let world = World::new()?;
    for arguments in [&[][..], &["auto"]] {
        let Some(ran) = create_without_user_namespaces(&world, arguments)? else {
            return Ok(());
        };
        let message = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{ran:?}");
        for expected in [
            "landlock: ",
            "seccomp",
            "instead of namespaces",
            "create namespaces",
        ] {
            assert!(message.contains(expected), "{message}");
        }
        let id = String::from_utf8(ran.stdout)?.trim().parse()?;
        let info = world
            .backend
            .get(&id, sandbox_core::Freshness::Latest)
            .await?;
        assert_eq!(info.isolation.kind, "landlock");
        let log = std::fs::read_to_string(world.state(&info).join("log"))?;
        assert!(log.contains("namespaces are not permitted here"), "{log}");
        assert_eq!(
            world.run(&info, "echo works > f; cat f").await?.stdout,
            "works\n"
        );
        assert_ne!(world.run(&info, "cat /etc/passwd").await?.code, Some(0));
        world.backend.delete(&id, Default::default()).await?;
        world.assert_nothing_left(&info).await?;
    }
    Ok(())
}

async fn without_user_namespaces_it_fails_closed() -> Result {
    let world = World::new()?;
    for (arguments, more) in [
        (&["namespaces"][..], "create namespaces"),
        (&["auto", "without-landlock"], "use Landlock"),
        (&["landlock", "without-landlock"], "use Landlock"),
    ] {
        let Some(ran) = create_without_user_namespaces(&world, arguments)? else {
            return Ok(());
        };
        let message = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && ran.stdout.is_empty(), "{ran:?}");
        for expected in [more, "none", "explicitly"] {
            assert!(message.contains(expected), "{message}");
        }
        assert!(
            arguments[0] == "landlock" || message.contains("sysctl user.max_user_namespaces"),
            "{message}"
        );
        assert!(
            world.state_entries().is_empty(),
            "a failed creation has left files"
        );
    }
    Ok(())
}

/// Creates a sandbox in a user namespace that cannot contain others, as on a system where user
/// namespaces are disabled.
fn create_without_user_namespaces(world: &World, arguments: &[&str]) -> Result<Option<Output>> {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" client \"$@\"";
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(world.backend.state_dir())
        .args(arguments)
        .output();
    if ran.is_err() {
        eprintln!("skipped: unshare(1) not found; install util-linux");
    }
    Ok(ran.ok())
}
