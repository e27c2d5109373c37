//! Shared processes.

use std::time::Duration;

use sandbox::{
    AttachedProcess, Error, ExitStatus, InputTarget, ProcessEvent, ProcessSpec, RefusalCode,
    Sandbox, Signal, TerminalSize,
};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::{wait_until_no_process, with_sandbox};

cases![
    a_process_is_shared_by_several_clients,
    a_process_is_alone_with_its_output,
    input_arrives_from_any_client,
    a_process_has_a_terminal,
    processes_are_listed_and_signalled,
    a_timeout_kills_a_process,
    a_process_that_cannot_start_has_an_exit_code,
    what_cannot_be_done_is_refused,
];

/// What an attached client has received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Received {
    stdout: String,
    stderr: String,
    terminal: String,
    status: Option<ExitStatus>,
}

async fn receive(mut process: AttachedProcess) -> Outcome<Received> {
    let mut received = Received::default();
    while let Some(event) = process.next().await {
        match event? {
            ProcessEvent::Stdout(bytes) => received.stdout += &String::from_utf8_lossy(&bytes),
            ProcessEvent::Stderr(bytes) => received.stderr += &String::from_utf8_lossy(&bytes),
            ProcessEvent::Terminal(bytes) => received.terminal += &String::from_utf8_lossy(&bytes),
            ProcessEvent::Ended(status) => received.status = Some(status),
            other => panic!("{other:?}"),
        }
    }
    Ok(received)
}

fn sh(script: &str) -> ProcessSpec {
    ProcessSpec::new("sh").args(["-c", script])
}

fn code_of<T: std::fmt::Debug>(result: sandbox::Result<T>) -> RefusalCode {
    match result.unwrap_err() {
        Error::Refused(refusal) => refusal.code,
        other => panic!("not a refusal: {other}"),
    }
}

async fn a_process_is_shared_by_several_clients(backend: TestedBackend) -> Outcome {
    with_sandbox(backend.clone(), |sbx| async move {
        let script = "read line < gate; echo got $line; exit 5";
        sbx.shell("mkfifo gate").output().await?.check()?;
        let process = sbx.processes().start(sh(script).tag("t")).await?;
        let pid = process.pid();
        drop(process);

        let other = backend.new_client().connect(sbx.id()).await?;
        let first = other.processes().attach("t").await?;
        let second = sbx.processes().attach(pid).await?;
        assert_eq!(first.pid(), pid);
        other.shell("echo go > gate").output().await?.check()?;
        for process in [first, second] {
            let received = receive(process).await?;
            assert_eq!(received.stdout, "got go\n");
            assert_eq!(received.status, Some(ExitStatus::Code(5)));
        }
        // Its end is remembered, and it is reaped.
        let late = receive(other.processes().attach(pid).await?).await?;
        assert_eq!(late.status, Some(ExitStatus::Code(5)));
        let check = sbx.shell(format!("kill -0 {pid}")).status().await?;
        assert!(!check.success());
        Ok(())
    })
    .await
}

async fn a_process_is_alone_with_its_output(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let script = "head -c 20000000 /dev/zero; echo done > done";
        drop(sbx.processes().start(sh(script)).await?);
        for _ in 0..600 {
            if sbx.files().read("done").await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the process waits for a reader".into())
    })
    .await
}

async fn input_arrives_from_any_client(backend: TestedBackend) -> Outcome {
    with_sandbox(backend.clone(), |sbx| async move {
        let spec = ProcessSpec::new("wc").arg("-c").stdin();
        let process = sbx.processes().start(spec).await?;
        let pid = process.pid();
        let other = backend.new_client().connect(sbx.id()).await?;
        let mut input = sbx.processes().input(pid, InputTarget::Stdin).await?;
        input.write(b"one").await?;
        let part = vec![b'x'; 300_000];
        input.write_from(&part[..]).await?;
        input.finish().await?;
        let processes = other.processes();
        processes
            .write_input(pid, InputTarget::Stdin, b"two")
            .await?;
        processes.close_input(pid).await?;
        let received = receive(process).await?;
        assert_eq!(received.stdout.trim(), "300006");
        assert_eq!(received.status, Some(ExitStatus::Code(0)));
        let late = processes.write_input(pid, InputTarget::Stdin, b"x").await;
        assert_eq!(code_of(late), RefusalCode::NotFound);
        Ok(())
    })
    .await
}

async fn a_process_has_a_terminal(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let size = |columns, rows| TerminalSize { columns, rows };
        let script = "stty size; echo ready; read line; stty size; echo \"<$line>\"; echo err >&2";
        let spec = sh(script).terminal(size(91, 17));
        let mut process = sbx.processes().start(spec).await?;
        let mut shown = String::new();
        while !shown.ends_with("ready\r\n") {
            match process.next().await.unwrap()? {
                ProcessEvent::Terminal(bytes) => shown += &String::from_utf8_lossy(&bytes),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(shown, "17 91\r\nready\r\n");
        let processes = sbx.processes();
        processes.resize(process.pid(), size(33, 2)).await?;
        let target = InputTarget::Terminal;
        processes
            .write_input(process.pid(), target, b"hi\n")
            .await?;
        let received = receive(process).await?;
        assert!(
            received.terminal.ends_with("2 33\r\n<hi>\r\nerr\r\n"),
            "{received:?}"
        );
        assert_eq!(received.status, Some(ExitStatus::Code(0)));
        Ok(())
    })
    .await
}

async fn processes_are_listed_and_signalled(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let processes = sbx.processes();
        let spec = sh("sleep 1000; :").env("A", "b").tag("t").directory("/");
        let process = processes.start(spec.clone()).await?;
        let pid = process.pid();
        let listed = processes.list().await?;
        assert_eq!(listed.len(), 1);
        assert_eq!((listed[0].pid, &listed[0].spec), (pid, &spec));
        sbx.shell(format!("kill -0 {pid}"))
            .output()
            .await?
            .check()?;
        processes.signal(pid, Signal::Term).await?;
        let status = process.wait().await?;
        assert_eq!(status, ExitStatus::Signal(Signal::Term));
        assert!(processes.list().await?.is_empty());
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn a_timeout_kills_a_process(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let spec = sh("sleep 1000; :").timeout(Duration::from_millis(300));
        let process = sbx.processes().start(spec).await?;
        assert_eq!(code_of(process.wait().await), RefusalCode::TimedOut);
        wait_until_no_process(&sbx, "sleep").await
    })
    .await
}

async fn a_process_that_cannot_start_has_an_exit_code(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx| async move {
        let spec = ProcessSpec::new("no-such-program");
        let received = receive(sbx.processes().start(spec).await?).await?;
        assert_eq!(received.status, Some(ExitStatus::Code(127)));
        assert!(received.stderr.contains("no-such-program"), "{received:?}");
        Ok(())
    })
    .await
}

async fn what_cannot_be_done_is_refused(backend: TestedBackend) -> Outcome {
    with_sandbox(backend, |sbx: Sandbox| async move {
        let processes = sbx.processes();
        let gone = processes.attach(999_999_999).await;
        assert_eq!(code_of(gone), RefusalCode::NotFound);
        let gone = processes.signal("no such tag", Signal::Kill).await;
        assert_eq!(code_of(gone), RefusalCode::NotFound);
        let spec = ProcessSpec::new("true");
        let nowhere = processes.start(spec.clone().directory("no/such")).await;
        assert_eq!(code_of(nowhere), RefusalCode::Invalid);
        let nobody = processes.start(spec.user("no such user")).await;
        assert_eq!(code_of(nobody), RefusalCode::UnknownUser);
        Ok(())
    })
    .await
}
