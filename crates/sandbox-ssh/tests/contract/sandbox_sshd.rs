//! Against sandbox-sshd.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::guest::{PauseState, RefusalCode};
use sandbox_core::tree_stream::{Attributes, Frame, VERSION};
use sandbox_core::{
    Access, ClaimRequest, CommandCause, ConnectionStage, Deadline, Direction, Error, ExecRequest,
    ExitStatus, KeyPair, Pty, PtySize, SessionSource, Signal,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::contract::{CAP, sh};
use crate::support::process::{read_to_end, wait_until_dead};
use crate::support::{self, InProcessSshd};

crate::full_contract!(Some(InProcessSshd::new()));

#[tokio::test]
async fn a_program_that_cannot_run_has_an_exit_code() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let status = async |request| session.output(request, CAP).await.unwrap().status;
    assert_eq!(
        status(ExecRequest::from_argv(["no-such-program"])).await,
        ExitStatus::Code(127)
    );
    sh(&session, "echo text > not-executable").await;
    assert_eq!(
        status(ExecRequest::from_argv(["./not-executable"])).await,
        ExitStatus::Code(126)
    );
}

#[tokio::test]
async fn the_environment_is_sent() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut request = ExecRequest::from_shell("printf '%s|%s' \"$ONE\" \"$TWO\"");
    request.env.set("ONE", "1 '\n$x").unwrap();
    request.env.set("TWO", "").unwrap();
    let output = session.output(request, CAP).await.unwrap();
    assert_eq!(output.stdout_lossy(), "1 '\n$x|");
}

#[tokio::test]
async fn an_unread_command_can_be_signalled() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let line = "echo $$ > pid; trap 'exit 9' TERM; yes; sleep 60";
    let process = session.exec(ExecRequest::from_shell(line)).await.unwrap();
    // Long enough for every queue in between to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = std::fs::read_to_string(sshd.home.path().join("pid")).unwrap();
    process.control().signal(Signal::Term).await.unwrap();
    // The signal reaches the whole process group, and so `yes`. No output was read so far.
    wait_until_dead(&pid).await;
    assert_eq!(read_to_end(process).await.unwrap(), ExitStatus::Code(9));
}

#[tokio::test]
async fn a_time_out_and_a_drop_end_the_whole_process_group() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let pids = |file: &str| {
        let text = std::fs::read_to_string(sshd.home.path().join(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let line = |file: &str| {
        format!("sleep 100 & echo $! > {file}; echo $$ >> {file}; echo begun; sleep 100")
    };

    let mut request = ExecRequest::from_shell(line("one"));
    request.timeout = Some(Duration::from_secs(1));
    let error = session.output(request, CAP).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::TimedOut { .. },
                ..
            }
        ),
        "{error}"
    );

    let mut process = session
        .exec(ExecRequest::from_shell(line("two")))
        .await
        .unwrap();
    process.next().await.unwrap().unwrap();
    drop(process);

    let run = session.output(ExecRequest::from_shell(line("three")), CAP);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), run)
            .await
            .is_err()
    );

    for file in ["one", "two", "three"] {
        let pids = pids(file);
        assert_eq!(pids.len(), 2, "{file}");
        for pid in pids {
            wait_until_dead(&pid).await;
        }
    }
}

#[tokio::test]
async fn a_time_out_kills_a_command_whose_output_is_not_read() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut request = ExecRequest::from_argv(["yes"]);
    request.timeout = Some(Duration::from_millis(500));
    let process = session.exec(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let error = read_to_end(process).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::TimedOut { .. },
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(sh(&session, "echo on").await, "on\n");
}

#[tokio::test]
async fn a_server_with_few_channels_serves_many_callers() {
    let sshd = InProcessSshd::with_config(|config| config.with_max_channels(3));
    let mut options = sandbox_ssh::SshOptions::default();
    (options.connections, options.max_connections) = (1, 1);
    let sessions = sandbox_ssh::SshSessions::new(Arc::clone(&sshd.connector) as _, options);
    let session = support::session(&sessions, &sshd.access).await;
    support::contract::cancelled_calls_leak_no_channel(&session).await;
    support::contract::many_callers_share(&session).await;
    support::contract::cancelled_transfers_leave_no_files(&session).await;
}

/// More than one packet of SSH takes.
#[tokio::test]
async fn long_arguments_reach_commands_and_jobs() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let words = (0..400).map(|_| "y".repeat(1000));
    let count = |line: &str| {
        let program = ["sh", "-c", line, "sh"].map(str::to_owned);
        ExecRequest::from_argv(program.into_iter().chain(words.clone()))
    };
    let output = session.output(count("echo $#"), CAP).await.unwrap();
    assert_eq!(output.stdout_lossy(), "400\n");
    let mut in_terminal = count("echo $#");
    in_terminal.pty = Some(Pty {
        term: "dumb".into(),
        size: PtySize {
            columns: 80,
            rows: 24,
        },
    });
    let output = session.output(in_terminal, CAP).await.unwrap();
    assert_eq!(output.stdout_lossy(), "400\r\n");
    let job = "long".parse().unwrap();
    let request = count("echo $# > some; mv some count");
    session.start_job(&job, request).await.unwrap();
    let written = async {
        loop {
            match std::fs::read_to_string(sshd.home.path().join("count")) {
                Ok(count) => return count,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    assert_eq!(written.await, "400\n");
}

#[tokio::test]
async fn what_is_too_long_is_refused_and_costs_no_connection() {
    let sshd = InProcessSshd::new();
    let sessions = sshd.sessions();
    let session = support::session(&sessions, &sshd.access).await;
    let line = ExecRequest::from_shell(format!(": {}", "x".repeat(200_000)));
    let output = session.output(line, CAP).await.unwrap();
    assert_eq!(output.status, ExitStatus::Code(126));
    let message = output.stderr_lossy();
    assert!(message.contains("128 KiB"), "{message}");

    let mut variable = ExecRequest::from_argv(["true"]);
    variable.env.set("BIG", "x".repeat(300_000)).unwrap();
    let words = ExecRequest::from_argv((0..90).map(|_| "y".repeat(100_000)));
    for (request, part) in [(variable, "variable BIG"), (words, "command line")] {
        let error = session.output(request, CAP).await.unwrap_err();
        assert!(
            matches!(
                &error,
                Error::Command { cause: CommandCause::NotStarted { message }, .. } if message.contains(part)
            ),
            "{error}"
        );
    }
    assert_eq!(sh(&session, "echo next").await, "next\n");
    assert_eq!(sessions.status()[0].commands.handshakes, 1);
}

/// A claimer, another client and the filler, each with a pool of its own.
#[tokio::test]
async fn after_a_claim_only_the_new_key_opens_connections() {
    let sshd = InProcessSshd::with_config(|config| config.with_claimable(true));
    let (filler, claimer, loser) = (sshd.sessions(), sshd.sessions(), sshd.sessions());
    let filling = support::session(&filler, &sshd.access).await;
    let first = support::session(&claimer, &sshd.access).await;
    let losing = support::session(&loser, &sshd.access).await;
    let key = KeyPair::generate().unwrap();
    let mut request = ClaimRequest::new(key.public);
    request.attach_timeout = Some(Duration::from_secs(60));
    assert!(first.claim(request.clone()).await.unwrap());

    let access = Arc::new(Access {
        id: sshd.access.id.clone(),
        uid: sshd.access.uid.clone(),
        user: sshd.access.user.clone(),
        host_key: sshd.access.host_key.clone(),
        client_key: key.private,
        endpoint: sshd.access.endpoint.clone(),
    });
    let session = support::session(&claimer, &access).await;
    assert_eq!(sh(&session, "echo mine").await, "mine\n");
    assert_eq!(
        claimer.status()[0].commands.handshakes,
        1,
        "the same connection"
    );
    // A stream and a file each have a connection of their own.
    let mut reading = session
        .exec(ExecRequest::from_shell("echo new"))
        .await
        .unwrap();
    assert!(reading.next().await.is_some());
    session.stat(&".".into(), true).await.unwrap();
    assert!(
        !first.claim(request.clone()).await.unwrap(),
        "claimed before"
    );

    for (sessions, former) in [(&filler, filling), (&loser, losing)] {
        let run = former.output(ExecRequest::from_argv(["true"]), CAP);
        let error = run.await.unwrap_err();
        assert_eq!(support::stage(&error), ConnectionStage::Auth, "{error}");
        let deadline = Deadline::from_now(Duration::from_secs(20));
        let error = sessions.session(Arc::clone(&sshd.access), deadline).await;
        assert_eq!(support::stage(&error.unwrap_err()), ConnectionStage::Auth);
    }
}

#[tokio::test]
async fn a_sandbox_outside_of_a_pool_says_that_it_cannot_be_claimed() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let request = ClaimRequest::new(KeyPair::generate().unwrap().public);
    let error = session.claim(request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the sandbox does not support being claimed: it was not created for a pool; connect to it, or create another"
    );
    assert_eq!(sh(&session, "echo on").await, "on\n");
}

#[tokio::test]
async fn a_dropped_tree_is_cleaned_up_before_it_settles() {
    let sshd = InProcessSshd::new();
    let sessions = sshd.sessions();
    let session = support::session(&sessions, &sshd.access).await;
    let mut channel = session.open_tree(Direction::Upload).await.unwrap();
    let mut frames = Vec::new();
    for frame in [
        Frame::Receive {
            version: VERSION,
            path: b"top",
        },
        Frame::Directory {
            name: b"",
            attributes: Attributes::default(),
        },
        Frame::File {
            name: b"f",
            attributes: Attributes::default(),
            size: 100,
            is_whole: false,
            content: b"incomplete",
        },
    ] {
        frame.encode(&mut frames);
    }
    channel.stream.write_all(&frames).await.unwrap();
    // The server confirms what it has written.
    channel.stream.read_u8().await.unwrap();
    let top = sshd.home.path().join("top");
    while std::fs::read_dir(&top).map_or(0, Iterator::count) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(channel);
    sessions.settle().await;
    assert_eq!(std::fs::read_dir(&top).unwrap().count(), 0);
}

#[tokio::test]
async fn more_trees_than_connections_are_refused_at_once() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(session.open_tree(Direction::Download).await.unwrap());
    }
    let error = session.open_tree(Direction::Download).await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    drop(open.pop());
    // The connection is used again once its channel is closed.
    while session.open_tree(Direction::Download).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_request_that_the_server_does_not_know_is_refused_in_words() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let mut channel = session.open_guest().await.unwrap();
    let request = serde_json::json!({"sandbox": "teleport"});
    channel.send_message(&request).await.unwrap();
    let error = channel.reply::<PauseState>().await.unwrap_err();
    assert!(
        matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::Unsupported),
        "{error}"
    );
    assert_eq!(channel.next().await.unwrap(), None);
    // Neither the connection nor the session is harmed.
    assert_eq!(sh(&session, "echo on").await, "on\n");
}
