//! Against our own server.

mod support;

contract! {
    Some(Ours::new());
    exit_codes_are_data,
    the_streams_are_told_apart,
    arguments_arrive_as_they_are,
    nul_is_refused,
    a_directory_is_entered,
    variables_arrive_and_are_not_seen,
    variables_arrive_in_a_terminal,
    input_is_read_to_its_end,
    a_command_that_does_not_read_can_end,
    a_terminal_has_a_size,
    a_terminal_that_nobody_types_at,
    much_output_is_capped_and_flagged,
    a_background_process_does_not_hold_up,
    a_command_runs_into_its_time_out,
    a_command_that_nobody_waits_for_ends,
    an_unread_stream_holds_up_nothing_else,
    files_go_both_ways,
    names_may_be_odd,
    file_errors_have_reasons,
    files_are_changed,
    bytes_are_added_at_the_end,
    hashes_are_told,
    uploads_are_continued,
    a_port_is_reached,
    cancelled_calls_leak_no_channel,
    cancelled_transfers_leave_nothing,
    many_callers_share,
}

use std::time::Duration;

use sandbox_core::{
    AttachOptions, CommandCause, Error, ExecEvent, ExecRequest, ExitStatus, JobId, Process,
    SessionSource, Signal,
};
use support::Ours;
use support::contract::sh;

const CAP: usize = 1 << 20;

#[tokio::test]
async fn what_cannot_run_says_so() {
    let ours = Ours::new();
    let session = ours.session().await;
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
    let ours = Ours::new();
    let session = ours.session().await;
    let mut request = ExecRequest::from_shell("printf '%s|%s' \"$ONE\" \"$TWO\"");
    request.env.set("ONE", "1 '\n$x").unwrap();
    request.env.set("TWO", "").unwrap();
    let output = session.output(request, CAP).await.unwrap();
    assert_eq!(output.stdout_lossy(), "1 '\n$x|");
}

/// Reads until the end without a look.
async fn rest(mut process: Process) -> Result<ExitStatus, Error> {
    while let Some(event) = process.next().await {
        if let ExecEvent::Exited(status) = event? {
            return Ok(status);
        }
    }
    panic!("it ended without an end");
}

#[tokio::test]
async fn an_unread_command_can_be_signalled() {
    let ours = Ours::new();
    let session = ours.session().await;
    let line = "echo $$ > pid; trap 'exit 9' TERM; yes; sleep 60";
    let process = session.exec(ExecRequest::from_shell(line)).await.unwrap();
    // Long enough for every queue on the way to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let pid = std::fs::read_to_string(ours.home.path().join("pid")).unwrap();
    process.control().signal(Signal::Term).await.unwrap();
    // To the group: `yes` ends by it as well. Nothing was read so far.
    until_dead(&pid).await;
    assert_eq!(rest(process).await.unwrap(), ExitStatus::Code(9));
}

/// Whether a process is there and is no zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn until_dead(pid: &str) {
    for _ in 0..500 {
        if !lives(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{pid} still lives");
}

#[tokio::test]
async fn a_time_out_and_a_drop_end_the_whole_group() {
    let ours = Ours::new();
    let session = ours.session().await;
    let pids = |file: &str| {
        let text = std::fs::read_to_string(ours.home.path().join(file)).unwrap_or_default();
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
            until_dead(&pid).await;
        }
    }
}

#[tokio::test]
async fn a_time_out_reaches_a_command_whose_output_is_not_read() {
    let ours = Ours::new();
    let session = ours.session().await;
    let mut request = ExecRequest::from_argv(["yes"]);
    request.timeout = Some(Duration::from_millis(500));
    let process = session.exec(request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let error = rest(process).await.unwrap_err();
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
async fn jobs_outlive_their_client() {
    let ours = Ours::new();
    let session = ours.session().await;
    let id = JobId::generate().unwrap();
    let mut request = ExecRequest::from_shell("echo $WORD; sleep 0.5; echo end; exit 6");
    request.env.set("WORD", "begun").unwrap();
    session.start_job(&id, request).await.unwrap();
    drop(session);

    let session = ours.session().await;
    let jobs = session.jobs().await.unwrap();
    assert_eq!((jobs.len(), jobs[0].id.as_str()), (1, id.as_str()));
    let output = session
        .attach_job(&id, AttachOptions::follow())
        .await
        .unwrap()
        .output(CAP)
        .await
        .unwrap();
    assert_eq!(output.stdout_lossy(), "begun\nend\n");
    assert_eq!(output.status, ExitStatus::Code(6));
    let wait = session
        .attach_job(&id, AttachOptions::wait())
        .await
        .unwrap();
    assert_eq!(wait.wait().await.unwrap(), ExitStatus::Code(6));
    assert_eq!(session.jobs().await.unwrap()[0].exit_code, Some(6));

    let missing = JobId::generate().unwrap();
    let error = match session.attach_job(&missing, AttachOptions::follow()).await {
        Ok(process) => rest(process).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Command { .. }), "{error}");
    let error = session
        .start_job(&missing, ExecRequest::from_argv(["no-such-program"]))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::NotStarted { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_running_job_is_looked_at_and_signalled() {
    let ours = Ours::new();
    let session = ours.session().await;
    let id = JobId::generate().unwrap();
    session
        .start_job(&id, ExecRequest::from_shell("echo begun; sleep 100"))
        .await
        .unwrap();
    let mut follow = session
        .attach_job(&id, AttachOptions::follow())
        .await
        .unwrap();
    follow.next().await.unwrap().unwrap();
    let mut snapshot = session
        .attach_job(&id, AttachOptions::snapshot())
        .await
        .unwrap();
    let mut seen = Vec::new();
    while let Some(event) = snapshot.next().await {
        match event.unwrap() {
            ExecEvent::Stdout(bytes) => seen.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, b"begun\n", "and no end, for it has none");
    follow.control().signal(Signal::Kill).await.unwrap();
    assert_eq!(
        rest(follow).await.unwrap(),
        ExitStatus::Signal(Signal::Kill)
    );
}

#[tokio::test]
async fn a_server_of_few_channels_serves_many_and_forgets_none() {
    let ours = Ours::with(|config| config.with_max_channels(3));
    let mut options = sandbox_ssh::SshOptions::default();
    (options.connections, options.max_connections) = (1, 1);
    let sessions =
        sandbox_ssh::SshSessions::new(std::sync::Arc::clone(&ours.connector) as _, options);
    let session = support::session(&sessions, &ours.access).await;
    support::contract::cancelled_calls_leak_no_channel(&session).await;
    support::contract::many_callers_share(&session).await;
    support::contract::cancelled_transfers_leave_nothing(&session).await;
}

/// Counts the events of one message.
struct Counter(&'static str, std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl tracing::Subscriber for Counter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sandbox_ssh")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Find<'a>(&'a str, bool);
        impl tracing::field::Visit for Find<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.1 |= field.name() == "message" && format!("{value:?}") == self.0;
            }
        }
        let mut find = Find(self.0, false);
        event.record(&mut find);
        self.1
            .fetch_add(usize::from(find.1), std::sync::atomic::Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// russh keeps memory for every channel that is closed from our side.
#[tokio::test]
async fn the_server_closes_what_has_ended() {
    let closed = std::sync::Arc::default();
    let counter = Counter("closing a channel", std::sync::Arc::clone(&closed));
    let _counting = tracing::subscriber::set_default(counter);
    let ours = Ours::new();
    let session = ours.session().await;
    let run = |_| session.output(ExecRequest::from_argv(["true"]), CAP);
    for _ in 0..10 {
        for output in futures_util::future::join_all((0..4).map(run)).await {
            assert!(output.unwrap().status.success());
        }
        assert!(
            session
                .exec(ExecRequest::from_argv(["true"]))
                .await
                .unwrap()
                .wait()
                .await
                .unwrap()
                .success()
        );
    }
    assert_eq!(closed.load(std::sync::atomic::Ordering::Relaxed), 0);
    drop(
        session
            .exec(ExecRequest::from_argv(["sleep", "60"]))
            .await
            .unwrap(),
    );
    for _ in 0..500 {
        if closed.load(std::sync::atomic::Ordering::Relaxed) == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("a dropped command's channel is not closed");
}

/// Sessions that open a channel ahead however near the server is.
fn ahead(ours: &Ours) -> sandbox_ssh::SshSessions {
    let mut options = sandbox_ssh::SshOptions::default();
    options.prewarm_latency = Some(Duration::ZERO);
    sandbox_ssh::SshSessions::new(std::sync::Arc::clone(&ours.connector) as _, options)
}

async fn until_kept(ours: &Ours, sessions: &sandbox_ssh::SshSessions, channels: usize) {
    for _ in 0..5000 {
        let commands = sessions.status()[0].commands;
        if (
            commands.busy,
            commands.prewarmed,
            ours.server.status().channels,
        ) == (0, channels, channels)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{:?} {:?}", sessions.status(), ours.server.status());
}

#[tokio::test]
async fn a_channel_is_open_for_the_next_command() {
    let taken = std::sync::Arc::default();
    let counter = Counter("prewarmed channel taken", std::sync::Arc::clone(&taken));
    let _counting = tracing::subscriber::set_default(counter);
    let ours = Ours::new();
    let sessions = ahead(&ours);
    let session = support::session(&sessions, &ours.access).await;
    for _ in 0..3 {
        assert_eq!(sh(&session, "echo hi").await, "hi\n");
    }
    for round in 1..=5 {
        until_kept(&ours, &sessions, 1).await;
        let before = taken.load(std::sync::atomic::Ordering::Relaxed);
        assert_eq!(sh(&session, "echo $((6 * 7))").await, "42\n");
        assert_eq!(
            taken.load(std::sync::atomic::Ordering::Relaxed),
            before + 1,
            "round {round}"
        );
    }
    support::contract::many_callers_share(&session).await;
    support::contract::cancelled_calls_leak_no_channel(&session).await;
    sessions.evict(&ours.access.uid).await;
    for _ in 0..5000 {
        if ours.server.status().channels == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{:?}", ours.server.status());
}

#[tokio::test]
async fn a_channel_that_was_open_ahead_and_is_lost_is_not_used() {
    let ours = Ours::new();
    let sessions = ahead(&ours);
    let session = support::session(&sessions, &ours.access).await;
    for _ in 0..3 {
        sh(&session, "true").await;
    }
    for _ in 0..3 {
        until_kept(&ours, &sessions, 1).await;
        ours.connector.cut().await;
        // Noticed before the next command, which gets another connection.
        until_kept(&ours, &sessions, 0).await;
        for _ in 0..3 {
            assert_eq!(sh(&session, "echo on").await, "on\n");
        }
    }
}
