//! The programs that can be a server.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;

use super::support::{Result, World, detached_spec, trials, wait_until};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_program_without_init_is_refused,
        a_sandbox_without_a_reply_is_removed,
        the_server_program_works,
    ]
}

async fn a_program_without_init_is_refused() -> Result {
    for (program, expected) in [
        ("/nonexistent/server", "does not exist"),
        ("/bin/true", "init()"),
        ("/bin/cat", "init()"),
    ] {
        let world = World::with_options(|options| options.server = Some(program.into()))?;
        let error = world.create_error(Default::default()).await?;
        assert!(error.to_string().contains(expected), "{error}");
        assert!(
            !format!("{error:?}").contains("OPENSSH"),
            "a key is in the error"
        );
    }
    Ok(())
}

async fn a_sandbox_without_a_reply_is_removed() -> Result {
    let programs = tempfile::tempdir()?;
    for name in [MUTE_SERVER, "real-server"] {
        std::fs::copy(std::env::current_exe()?, programs.path().join(name))?;
    }
    let world = World::with_options(|options| {
        options.server = Some(programs.path().join(MUTE_SERVER));
        options.start_timeout = Duration::from_secs(2);
    })?;
    let state = world.backend.state_dir().to_owned();
    let watcher = tokio::spawn(async move {
        // The creation is complete but for the acknowledgement.
        wait_until("a sandbox is running", || {
            let records = std::fs::read_dir(&state).into_iter().flatten().flatten();
            let running = records
                .filter_map(|entry| std::fs::read_to_string(entry.path().join("record.json")).ok());
            running
                .into_iter()
                .any(|record| record.contains("\"running\""))
        })
        .await
    });
    let error = world.create_error(detached_spec()).await?;
    assert!(
        matches!(error, sandbox_core::Error::Timeout { .. }),
        "{error}"
    );
    watcher.await??;
    world.wait_until_empty().await
}

async fn the_server_program_works() -> Result {
    let program = env!("CARGO_BIN_EXE_sandbox-local-server");
    if std::fs::metadata(program).is_err() {
        // This user has no access to the directory in which the program was built.
        return Ok(());
    }
    let world = World::with_options(|options| options.server = Some(program.into()))?;
    let info = world.create().await?;
    assert_eq!(world.run(&info, "echo served").await?.stdout, "served\n");
    let started_by_hand = Command::new(program).output()?;
    assert_eq!(started_by_hand.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&started_by_hand.stderr).contains("PATH"));
    Ok(())
}

/// If this is the mute copy: starts a supervisor and never passes its reply on.
pub(crate) fn become_mute_server() {
    let Some(program) = std::env::current_exe()
        .ok()
        .filter(|path| path.ends_with(MUTE_SERVER))
    else {
        return;
    };
    let real = program.with_file_name("real-server");
    let child = Command::new(real)
        .arg0("sandbox-local-supervisor")
        .stdout(Stdio::piped())
        .spawn();
    // The reply is read and dropped. The supervisor ends when the client closes its pipe.
    let output = child.and_then(|child| child.wait_with_output());
    std::process::exit(i32::from(output.is_err()));
}

/// The name of a copy of this program that drops the supervisor's reply.
const MUTE_SERVER: &str = "mute-server";
