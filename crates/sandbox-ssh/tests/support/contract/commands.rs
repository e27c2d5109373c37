//! Commands: arguments, streams, environment, time-outs.

use std::time::Duration;

use sandbox_core::{CommandCause, Error, ExecEvent, ExecRequest, ExitStatus, Notice, Signal};
use tokio::io::AsyncWriteExt;

use super::{AnySession, CAP, pattern, resident, sh};

pub(crate) async fn exit_codes_are_data(session: &AnySession) {
    for code in [0, 1, 42, 255] {
        let output = session
            .output(ExecRequest::from_shell(format!("exit {code}")), CAP)
            .await
            .unwrap();
        assert_eq!(output.status, ExitStatus::Code(code));
        let process = session
            .exec(ExecRequest::from_shell(format!("exit {code}")))
            .await
            .unwrap();
        assert_eq!(process.wait().await.unwrap(), ExitStatus::Code(code));
    }
    let output = session
        .output(ExecRequest::from_shell("kill -TERM $$"), CAP)
        .await
        .unwrap();
    assert_eq!(output.status, ExitStatus::Signal(Signal::Term));
}

pub(crate) async fn stdout_and_stderr_are_separate(session: &AnySession) {
    let output = session
        .output(ExecRequest::from_shell("printf out; printf err >&2"), CAP)
        .await
        .unwrap();
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out"[..], &b"err"[..])
    );
}

pub(crate) async fn arguments_arrive_unchanged(session: &AnySession) {
    let odd: Vec<&[u8]> = vec![
        b"",
        b" a  b ",
        b"it's",
        b"\"$HOME\" `id` $(id) \\",
        b"new\nline\ttab",
        b"-n",
        b"--",
        b"*?[x]{a,b}~",
        b"!event",
        b"\xff\xfe not utf-8 \x80",
        b"\x01\x1b[31m",
    ];
    let argv = [&b"printf"[..], b"%s\\0"]
        .into_iter()
        .chain(odd.iter().copied());
    let output = session
        .output(ExecRequest::from_argv(argv), CAP)
        .await
        .unwrap();
    let expected: Vec<u8> = odd
        .iter()
        .flat_map(|arg| arg.iter().copied().chain([0]))
        .collect();
    assert_eq!(output.stdout, expected, "{}", output.stderr_lossy());
}

pub(crate) async fn nul_is_refused(session: &AnySession) {
    for request in [
        ExecRequest::from_argv(["a\0b"]),
        ExecRequest::from_argv(["a", "\0"]),
        ExecRequest::from_shell("a\0"),
    ] {
        let error = session.output(request.clone(), CAP).await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(matches!(
            session.exec(request).await.unwrap_err(),
            Error::Invalid { .. }
        ));
    }
}

pub(crate) async fn a_directory_is_entered(session: &AnySession) {
    sh(session, "mkdir -p 'a dir/it'\"'\"'s'").await;
    let mut request = ExecRequest::from_argv(["pwd"]);
    request.directory = Some(b"a dir/it's".to_vec());
    let output = session.output(request, CAP).await.unwrap();
    assert!(
        output.stdout_lossy().ends_with("/a dir/it's\n"),
        "{}",
        output.stdout_lossy()
    );
}

pub(crate) async fn input_is_read_to_its_end(session: &AnySession) {
    let mut request = ExecRequest::from_argv(["cat"]);
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let data = pattern(3 << 20);
    let sent = data.clone();
    let writing = tokio::spawn(async move {
        stdin.write_all(&sent).await.unwrap();
        stdin.shutdown().await.unwrap();
    });
    let output = process.output(8 << 20).await.unwrap();
    writing.await.unwrap();
    assert!(output.status.success() && output.stdout == data);

    // Without input, a command reads the end of file at once.
    assert_eq!(sh(session, "cat").await, "");
}

pub(crate) async fn a_command_that_does_not_read_can_end(session: &AnySession) {
    let mut request = ExecRequest::from_shell("exit 7");
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let writing = tokio::spawn(async move { while stdin.write_all(&[0; 65536]).await.is_ok() {} });
    assert_eq!(
        process.output(CAP).await.unwrap().status,
        ExitStatus::Code(7)
    );
    writing.await.unwrap();
}

pub(crate) async fn much_output_is_capped_and_flagged(session: &AnySession) {
    const MUCH: u64 = 256 << 20;
    let before = resident();
    let request = ExecRequest::from_shell(format!("head -c {MUCH} /dev/zero; echo err >&2"));
    let output = session.output(request, 1000).await.unwrap();
    assert!(output.status.success() && output.is_truncated());
    assert_eq!(
        (output.stdout.len(), output.stdout_dropped),
        (1000, MUCH - 1000)
    );
    assert_eq!(output.stdout_gap(), Some(500));
    assert!(!output.output_held);
    assert_eq!(&output.stderr[..], b"err\n");
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB more", grown >> 20);
}

pub(crate) async fn late_output_arrives_or_is_reported(session: &AnySession) {
    let late = "(sleep 0.3; echo late; sleep 0.3; echo later) & echo begun";
    let output = session
        .output(ExecRequest::from_shell(late), CAP)
        .await
        .unwrap();
    assert_eq!(output.stdout_lossy(), "begun\nlate\nlater\n");
    assert!(!output.output_held);

    let mut request = ExecRequest::from_shell("sleep 30 & echo $!");
    request.output_grace = Some(Duration::from_millis(50));
    let output = session.output(request.clone(), CAP).await.unwrap();
    assert!(output.output_held && output.status.success());
    sh(session, &format!("kill {}", output.stdout_lossy())).await;
    let mut process = session.exec(request).await.unwrap();
    let mut notices = Vec::new();
    let mut pid = String::new();
    while let Some(event) = process.next().await {
        match event.unwrap() {
            ExecEvent::Stdout(part) => pid.push_str(&String::from_utf8_lossy(&part)),
            ExecEvent::Notice(notice) => notices.push(notice),
            ExecEvent::Stderr(_) | ExecEvent::Exited(_) => {}
        }
    }
    sh(session, &format!("kill {pid}")).await;
    assert_eq!(notices, [Notice::OutputHeld]);
}

pub(crate) async fn any_value_arrives(session: &AnySession) {
    let values = [
        "first\nsecond\n".to_owned(),
        "-----BEGIN KEY-----\nab+/=\n-----END KEY-----\n".to_owned(),
        "\u{1}\u{7f}\t'\"\\$`!\r\n".to_owned(),
        String::new(),
        "x".repeat(100_000),
    ];
    for value in values {
        let mut request = ExecRequest::from_argv(["sh", "-c", "printf %s \"$VALUE\""]);
        request.env.set("VALUE", &*value).unwrap();
        let output = session.output(request, CAP).await.unwrap();
        assert_eq!(output.stdout_lossy(), value, "{}", output.stderr_lossy());
    }
}

pub(crate) async fn a_command_times_out(session: &AnySession) {
    let mut request = ExecRequest::from_shell("echo $$ >>timed-out; sleep 60 & sleep 60");
    request.timeout = Some(Duration::from_millis(300));
    let error = session.output(request.clone(), CAP).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::TimedOut { killed: true, .. },
                ..
            }
        ),
        "{error}"
    );
    let error = session
        .exec(request)
        .await
        .unwrap()
        .wait()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Command {
                cause: CommandCause::TimedOut { killed: true, .. },
                ..
            }
        ),
        "{error}"
    );
    wait_until_ended(session, "timed-out", 2).await;
    assert_eq!(sh(session, "echo on").await, "on\n");
}

pub(crate) async fn a_dropped_command_ends(session: &AnySession) {
    let request = ExecRequest::from_shell("echo $$ >>dropped; echo begun; sleep 60");
    let mut process = session.exec(request.clone()).await.unwrap();
    process.next().await.unwrap().unwrap();
    drop(process);
    let begun = async {
        while sh(session, "cat dropped").await.lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        _ = session.output(request, CAP) => panic!("the command sleeps"),
        () = begun => {}
    }
    wait_until_ended(session, "dropped", 2).await;
}

/// Waits until this many processes, whose pids are in a file, have ended.
async fn wait_until_ended(session: &AnySession, file: &str, count: usize) {
    let alive = format!(
        r#"for pid in $(cat {file}); do kill -0 $pid 2>/dev/null && echo $pid; done; wc -l <{file}"#
    );
    let expected = count.to_string();
    let wait = async {
        while sh(session, &alive).await.trim() != expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), wait)
        .await
        .expect("a process is still alive");
}

/// Whatever the server accepts; and no process of the sandbox can read the variables of another.
pub(crate) async fn variables_arrive_and_stay_hidden(session: &AnySession) {
    const SECRET: &str = "s3cr3t-it's \\ \"q\" $x `id`\n\n \u{6587}\u{c1}\u{c8}\n";
    let with_secret = |mut request: ExecRequest| {
        request.env.set("SECRET", SECRET).unwrap();
        request.env.set("EMPTY", "").unwrap();
        request.env.set("LC_NAME", "C").unwrap();
        request
    };
    sh(session, "mkdir -p 'a dir'").await;
    let mut request = with_secret(ExecRequest::from_shell(
        "printf '%s|%s|%s|' \"$SECRET\" \"$EMPTY\" \"$LC_NAME\"; pwd; cat",
    ));
    request.directory = Some(b"a dir".to_vec());
    let output = session.output(request.clone(), CAP).await.unwrap();
    let text = output.stdout_lossy();
    assert!(
        text.starts_with(&format!("{SECRET}||C|/")) && text.ends_with("/a dir\n"),
        "{text:?}"
    );
    assert_eq!(
        output.status,
        ExitStatus::Code(0),
        "{}",
        output.stderr_lossy()
    );

    // The rest is the command's own input, to the byte.
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let data = [b"\\ first line\n".to_vec(), pattern(1 << 20)].concat();
    let sent = data.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&sent).await.unwrap() });
    let output = process.output(4 << 20).await.unwrap();
    writing.await.unwrap();
    assert!(output.stdout.starts_with(SECRET.as_bytes()) && output.stdout.ends_with(&data));

    // A program without a shell, with its exit code; it reads the command lines of all processes.
    let mut request = with_secret(ExecRequest::from_argv([
        "sh",
        "-c",
        "read go; cat /proc/[0-9]*/cmdline; exit 9",
    ]));
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    process
        .take_stdin()
        .unwrap()
        .write_all(b"go\n")
        .await
        .unwrap();
    let listing = process.output(8 << 20).await.unwrap();
    assert_eq!(listing.status, ExitStatus::Code(9));
    assert!(
        listing.stdout_lossy().contains("cmdline") && !listing.stdout_lossy().contains("s3cr3t")
    );
}
