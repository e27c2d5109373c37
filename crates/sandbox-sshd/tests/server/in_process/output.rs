//! The end of a command's output, which other processes may hold open.

use std::time::{Duration, Instant};

use sandbox_core::Notice;
use sandbox_core::protocol::OUTPUT_GRACE_MS;

use super::PIPE;
use crate::support::client::{TestSandbox, exec, exec_with};

/// Writes to standard output after its end, as a process substitution of bash does.
const LATE: &str = "(sleep 0.3; echo late; sleep 0.3; echo later >&2) & echo begun";

#[tokio::test]
async fn what_a_process_writes_shortly_after_the_command_arrives() {
    let sandbox = TestSandbox::new(|config| config);
    for client in [sandbox.connect(PIPE).await, sandbox.connect_as_sdk().await] {
        let ended = exec(&client, LATE).await;
        assert_eq!(ended.stdout, b"begun\nlate\n");
        assert_eq!((&*ended.stderr, ended.code), ("later\n", Some(0)));
        assert_eq!(ended.notices, []);
    }
}

#[tokio::test]
async fn a_process_that_holds_the_output_does_not_delay_the_end_for_long_and_is_reported() {
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_millis(50)));
    let command = "sleep 1235011 & echo $!";
    let (client, sdk) = (sandbox.connect(PIPE).await, sandbox.connect_as_sdk().await);
    for (held, client) in [(&[][..], &client), (&[Notice::OutputHeld], &sdk)] {
        let begun = Instant::now();
        let ended = exec(client, command).await;
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!((ended.code, &*ended.notices), (Some(0), held));
        // A client that knows no notices gets a line of text.
        assert_eq!(ended.stderr.is_empty(), !held.is_empty(), "{ended:?}");
        assert!(held.len() == 1 || ended.stderr.starts_with("sandbox-sshd: a process"));
        let pid = String::from_utf8(ended.stdout).unwrap();
        assert_eq!(
            exec(client, format!("kill {pid}")).await.code,
            Some(0),
            "it still runs"
        );
    }
    // One that has closed the output is no one's business.
    let ended = exec(&sdk, "sleep 1235002 >/dev/null 2>&1 & echo $!").await;
    assert_eq!(ended.notices, []);
    let pid = String::from_utf8(ended.stdout).unwrap();
    exec(&sdk, format!("kill {pid}")).await;
}

#[tokio::test]
async fn a_client_chooses_how_long_output_is_waited_for() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect_as_sdk().await;
    let slow = "(sleep 1.5; echo late) & echo begun";
    let ended = exec_with(&client, &[(OUTPUT_GRACE_MS, "20000")], slow).await;
    assert_eq!(
        (&*ended.stdout, &*ended.notices),
        (&b"begun\nlate\n"[..], &[][..])
    );
    let ended = exec_with(&client, &[(OUTPUT_GRACE_MS, "0")], slow).await;
    assert_eq!(
        (&*ended.stdout, &*ended.notices),
        (&b"begun\n"[..], &[Notice::OutputHeld][..])
    );
    let env = exec_with(&client, &[(OUTPUT_GRACE_MS, "5")], "env").await;
    assert!(
        !String::from_utf8(env.stdout)
            .unwrap()
            .contains(OUTPUT_GRACE_MS)
    );
}

#[tokio::test]
async fn much_late_output_arrives_whole() {
    // The silent stderr is held open as well, for as long as the transfer takes on a busy machine.
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_secs(20)));
    let client = sandbox.connect_as_sdk().await;
    let ended = exec(&client, "(sleep 0.2; head -c 20000000 /dev/zero) & :").await;
    assert_eq!((ended.stdout.len(), ended.notices.len()), (20_000_000, 0));
}
