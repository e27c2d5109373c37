//! Input of processes.

use sandbox_core::guest::{
    FrameKind, GuestRequest, InputTarget, ProcessEnd, ProcessRequest, ProcessSpec, RefusalCode,
    TerminalSize,
};

use super::{Attached, PIPE, call, open_guest, refusal, sh, signal, start, wait_for, write};
use crate::support::client::{LONG, TestSandbox};
use crate::support::noise;

fn close(process: &Attached) -> ProcessRequest {
    ProcessRequest::CloseInput(process.pid.into())
}

#[tokio::test]
async fn input_arrives_in_order_and_complete_from_any_channel() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let other = sandbox.connect(PIPE).await;
    let spec = ProcessSpec::new("sha256sum").stdin().tag("sum");
    let process = start(&client, spec).await;
    let data = noise(3_000_000, 5);
    let (first, second) = data.split_at(1_234_567);
    write(&client, process.pid, InputTarget::Stdin, first)
        .await
        .unwrap();
    write(&other, "sum", InputTarget::Stdin, second)
        .await
        .unwrap();
    // Closed twice is closed.
    call(&client, close(&process)).await.unwrap();
    call(&client, close(&process)).await.ok();
    let events = process.finish().await;
    std::fs::write(sandbox.home.path().join("data"), &data).unwrap();
    let expected = super::run(&client, sh("sha256sum < data")).await.stdout;
    assert_eq!(events.stdout, expected);
}

#[tokio::test]
async fn several_channels_write_whole_parts() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let process = start(&client, ProcessSpec::new("cat").stdin()).await;
    let pid = process.pid;
    let writing = (b'a'..=b'h').map(|letter| {
        let client = &client;
        async move {
            for _ in 0..20 {
                let line = [vec![letter; 3000], vec![b'\n']].concat();
                write(client, pid, InputTarget::Stdin, &line).await.unwrap();
            }
        }
    });
    let all = async {
        let mut writing: Vec<_> = writing.map(Box::pin).collect();
        let mut tasks = Vec::new();
        for task in &mut writing {
            tasks.push(task);
        }
        // Polled together.
        std::future::poll_fn(|context| {
            tasks.retain_mut(|task| task.as_mut().poll(context).is_pending());
            if tasks.is_empty() {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        })
        .await;
        call(&client, ProcessRequest::CloseInput(pid.into()))
            .await
            .unwrap();
    };
    let (events, ()) = tokio::join!(process.finish(), all);
    let lines: Vec<_> = events
        .stdout
        .split_inclusive(|&byte| byte == b'\n')
        .collect();
    assert_eq!(lines.len(), 160);
    for line in lines {
        assert!(line.len() == 3001 && line[..3000].iter().all(|byte| *byte == line[0]));
    }
}

#[tokio::test]
async fn a_process_that_does_not_read_holds_the_writer_back() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let script = "until [ -e go ]; do sleep 0.02; done; wc -c";
    let process = start(&client, sh(script).stdin()).await;
    let pid = process.pid;
    let data = vec![7; 1_000_000];
    let writing = async {
        write(&client, pid, InputTarget::Stdin, &data)
            .await
            .unwrap();
        call(&client, ProcessRequest::CloseInput(pid.into()))
            .await
            .unwrap();
    };
    let mut writing = Box::pin(writing);
    let waited = tokio::time::timeout(std::time::Duration::from_millis(300), &mut writing).await;
    waited.unwrap_err();
    std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    let ((), events) = tokio::join!(writing, process.finish());
    assert_eq!(events.stdout.trim_ascii(), b"1000000");
}

#[tokio::test]
async fn input_that_cannot_be_written_is_refused() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let stdin = InputTarget::Stdin;

    // Without standard input.
    let process = start(&client, ProcessSpec::new("sleep").arg("1234841")).await;
    for target in [stdin, InputTarget::Terminal] {
        let refused = refusal(write(&client, process.pid, target, b"x").await);
        assert_eq!(refused.code, RefusalCode::Invalid);
    }
    call(&client, close(&process)).await.unwrap();
    signal(&client, process.pid, "KILL").await.unwrap();
    let pid = process.pid;
    process.finish().await;
    let refused = refusal(write(&client, pid, stdin, b"x").await);
    assert_eq!(refused.code, RefusalCode::NotFound);
    let refused = refusal(call(&client, ProcessRequest::CloseInput(pid.into())).await);
    assert_eq!(refused.code, RefusalCode::NotFound);

    // Closed by the client, and by the process.
    let process = start(&client, sh("cat; echo closed; sleep 1234842").stdin()).await;
    call(&client, close(&process)).await.unwrap();
    call(&client, close(&process)).await.unwrap();
    let refused = refusal(write(&client, process.pid, stdin, b"x").await);
    assert_eq!(refused.code, RefusalCode::Invalid);
    assert!(refused.message.contains("closed"), "{refused}");
    signal(&client, process.pid, "KILL").await.unwrap();
    let mut process = start(
        &client,
        sh("exec <&-; echo closed; sleep 1234843; :").stdin(),
    )
    .await;
    process.receive_until("closed\n").await;
    // What another test starts at this moment has the pipe as well, until it runs its program.
    let mut written = Ok(());
    wait_for("the refusal", async || {
        written = write(&client, process.pid, stdin, b"x").await;
        written.is_err()
    })
    .await;
    let refused = refusal(written);
    assert_eq!(refused.code, RefusalCode::Invalid);
    assert!(refused.message.contains("closed its input"), "{refused}");
    signal(&client, process.pid, "KILL").await.unwrap();

    // The process ends while the input waits, although another still has it open.
    let script = "exec 3<&0; sleep 1234844 <&3 & until [ -e go ]; do sleep 0.02; done";
    let process = start(&client, sh(script).stdin()).await;
    let data = vec![7; 1_000_000];
    let writing = write(&client, process.pid, stdin, &data);
    let going = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    };
    let (written, ()) = tokio::join!(writing, going);
    assert_eq!(refusal(written).code, RefusalCode::NotFound);
    assert_eq!(process.finish().await.end, Some(ProcessEnd::Exited(0)));
    crate::support::client::exec(&client, "kill $(pgrep -f 'sleep 123484[4]')").await;
}

#[tokio::test]
async fn a_writer_that_goes_away_leaves_the_input_open() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let mut process = start(&client, ProcessSpec::new("cat").stdin()).await;
    let mut channel = open_guest(&client).await;
    let request = ProcessRequest::Input {
        process: process.pid.into(),
        target: InputTarget::Stdin,
    };
    channel
        .request(&GuestRequest::Process(request))
        .await
        .unwrap();
    channel.send_content(b"some\n").await.unwrap();
    process.receive_until("some\n").await;
    drop(channel);
    write(&client, process.pid, InputTarget::Stdin, b"more\n")
        .await
        .unwrap();
    process.receive_until("some\nmore\n").await;
    call(&client, close(&process)).await.unwrap();
    assert_eq!(process.finish().await.end, Some(ProcessEnd::Exited(0)));
}

#[tokio::test]
async fn a_writer_that_holds_the_lock_does_not_keep_an_ended_process() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let process = start(&client, sh("sleep 1234845; :").stdin()).await;
    let pid = process.pid;
    let data = vec![7; 1_000_000];
    let mut writers: Vec<_> = Vec::new();
    for _ in 0..3 {
        writers.push(write(&client, pid, InputTarget::Stdin, &data));
    }
    let closing = call(&client, ProcessRequest::CloseInput(pid.into()));
    let killing = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        signal(&client, pid, "KILL").await.unwrap();
    };
    let [first, second, third] = writers.try_into().ok().unwrap();
    let all = async { tokio::join!(first, second, third, closing, killing, process.finish()) };
    let (first, second, third, closed, (), events) = tokio::time::timeout(LONG, all).await.unwrap();
    for written in [first, second, third] {
        assert_eq!(refusal(written).code, RefusalCode::NotFound);
    }
    closed.ok();
    assert_eq!(events.end, Some(ProcessEnd::Killed("KILL".to_owned())));
}

#[tokio::test]
async fn a_terminal_has_input_of_its_own() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let size = TerminalSize {
        columns: 80,
        rows: 24,
    };
    let process = start(&client, ProcessSpec::new("cat").terminal(size)).await;
    let refused = refusal(call(&client, close(&process)).await);
    assert_eq!(refused.code, RefusalCode::Invalid);
    write(&client, process.pid, InputTarget::Terminal, b"typed\n\x04")
        .await
        .unwrap();
    let events = process.finish().await;
    assert_eq!(events.terminal, "typed\r\ntyped\r\n");
    assert_eq!(events.end, Some(ProcessEnd::Exited(0)));
}

#[tokio::test]
async fn only_content_is_input() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let process = start(&client, ProcessSpec::new("cat").stdin()).await;
    let mut channel = open_guest(&client).await;
    let request = ProcessRequest::Input {
        process: process.pid.into(),
        target: InputTarget::Stdin,
    };
    channel
        .request(&GuestRequest::Process(request))
        .await
        .unwrap();
    channel.send_message(&"no content").await.unwrap();
    let refused = refusal(channel.reply::<()>().await);
    assert_eq!(refused.code, RefusalCode::Invalid);
    assert!(!FrameKind::Message.is_content());
    call(&client, close(&process)).await.unwrap();
    process.finish().await;
    wait_for("the end", async || super::list(&client).await.is_empty()).await;
}
