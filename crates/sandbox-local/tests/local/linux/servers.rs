//! Which programs can be a server, and systems on which none can.

use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use sandbox_core::SandboxBackend;

use super::lifecycle::lasting;
use super::support::{Result, World, eventually, trial, users_of};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("another_program_is_no_server", another_program_is_no_server),
        trial(
            "a_sandbox_nobody_heard_of_is_undone",
            a_sandbox_nobody_heard_of_is_undone,
        ),
        trial("the_server_program_is_one", the_server_program_is_one),
        trial(
            "without_user_namespaces_landlock_is_taken",
            without_user_namespaces_landlock_is_taken,
        ),
        trial(
            "without_user_namespaces_it_fails_closed",
            without_user_namespaces_it_fails_closed,
        ),
        trial(
            "a_state_directory_open_to_others_is_refused",
            a_state_directory_open_to_others_is_refused,
        ),
    ]
}

async fn another_program_is_no_server() -> Result {
    for (program, expected) in [
        ("/nonexistent/server", "does not exist"),
        ("/bin/true", "init()"),
        ("/bin/cat", "init()"),
    ] {
        let world = World::with(|options| options.server = Some(program.into()))?;
        let error = world
            .backend
            .create(Default::default())
            .await
            .err()
            .ok_or("it was accepted")?;
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            !format!("{error:?}").contains("OPENSSH"),
            "a key is in the error"
        );
    }
    Ok(())
}

/// The name of a copy of this program whose answer never comes through.
const MUTE: &str = "mute-server";

/// When this is that copy: makes the sandbox, and keeps the answer to itself.
pub(crate) fn become_another_server() {
    let Some(program) = std::env::current_exe()
        .ok()
        .filter(|path| path.ends_with(MUTE))
    else {
        return;
    };
    let real = program.with_file_name("real-server");
    let child = Command::new(real)
        .arg0("sandbox-local-supervisor")
        .stdout(Stdio::piped())
        .spawn();
    // Heard, never told, until the client has had enough.
    let output = child.and_then(|child| child.wait_with_output());
    std::process::exit(i32::from(output.is_err()));
}

async fn a_sandbox_nobody_heard_of_is_undone() -> Result {
    let programs = tempfile::tempdir()?;
    for name in [MUTE, "real-server"] {
        std::fs::copy(std::env::current_exe()?, programs.path().join(name))?;
    }
    let world = World::with(|options| {
        options.server = Some(programs.path().join(MUTE));
        options.start_timeout = Duration::from_secs(2);
    })?;
    let state = world.backend.state_dir().to_owned();
    let watcher = tokio::spawn(async move {
        // It had come to be, but for the client's word.
        eventually("a sandbox runs", || {
            let records = std::fs::read_dir(&state).into_iter().flatten().flatten();
            let running = records
                .filter_map(|entry| std::fs::read_to_string(entry.path().join("record.json")).ok());
            running
                .into_iter()
                .any(|record| record.contains("\"running\""))
        })
        .await
    });
    let error = world
        .backend
        .create(lasting())
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(
        matches!(error, sandbox_core::Error::Timeout { .. }),
        "{error}"
    );
    watcher.await??;
    let entries = || {
        std::fs::read_dir(world.backend.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .count()
    };
    eventually("nothing is left", || {
        entries() == 0 && users_of(world.path()).is_empty()
    })
    .await
}

async fn the_server_program_is_one() -> Result {
    let program = env!("CARGO_BIN_EXE_sandbox-local-server");
    if std::fs::metadata(program).is_err() {
        // As another user than the one who built it, where that one's directories are closed.
        return Ok(());
    }
    let world = World::with(|options| options.server = Some(program.into()))?;
    let info = world.create().await?;
    assert_eq!(world.run(&info, "echo served").await?.stdout, "served\n");
    let by_hand = Command::new(program).output()?;
    assert_eq!(by_hand.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&by_hand.stderr).contains("PATH"));
    Ok(())
}

/// Makes a sandbox in a user namespace that may make no others, as on a system where they are
/// switched off.
fn without_user_namespaces(world: &World, words: &[&str]) -> Result<Option<Output>> {
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" client \"$@\"";
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe()?)
        .arg(world.backend.state_dir())
        .args(words)
        .output();
    if ran.is_err() {
        eprintln!("skipped: there is no unshare(1); install util-linux");
    }
    Ok(ran.ok())
}

async fn without_user_namespaces_landlock_is_taken() -> Result {
    let world = World::new()?;
    for words in [&[][..], &["auto"]] {
        let Some(ran) = without_user_namespaces(&world, words)? else {
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
        world.nothing_is_left(&info).await?;
    }
    Ok(())
}

async fn without_user_namespaces_it_fails_closed() -> Result {
    let world = World::new()?;
    for (words, more) in [
        (&["namespaces"][..], "create namespaces"),
        (&["auto", "without-landlock"], "use Landlock"),
        (&["landlock", "without-landlock"], "use Landlock"),
    ] {
        let Some(ran) = without_user_namespaces(&world, words)? else {
            return Ok(());
        };
        let message = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && ran.stdout.is_empty(), "{ran:?}");
        for expected in [more, "none", "explicitly"] {
            assert!(message.contains(expected), "{message}");
        }
        assert!(
            words[0] == "landlock" || message.contains("sysctl user.max_user_namespaces"),
            "{message}"
        );
        assert!(
            std::fs::read_dir(world.backend.state_dir())?
                .next()
                .is_none(),
            "a failed creation left something"
        );
    }
    Ok(())
}

async fn a_state_directory_open_to_others_is_refused() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new()?;
    std::fs::create_dir(world.backend.state_dir())?;
    std::fs::set_permissions(
        world.backend.state_dir(),
        std::fs::Permissions::from_mode(0o777),
    )?;
    let error = world
        .backend
        .create(Default::default())
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(error.to_string().contains("chmod"), "{error}");
    Ok(())
}
