//! What holds against every server.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{
    CommandCause, Error, ExecEvent, ExecRequest, ExitStatus, Process, Pty, PtySize, Session, Signal,
};
use tokio::io::AsyncWriteExt;

pub(crate) use super::file_contract::*;

/// Makes tests of some functions here, each with a server of its own.
#[macro_export]
macro_rules! contract {
    ($start:expr; $($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let Some(server) = $start else { return };
            $crate::support::contract::$name(&server.session().await).await;
        }
    )*};
}

pub(crate) type Any = Arc<dyn Session>;

pub(crate) const CAP: usize = 1 << 20;

/// Runs a shell line to its end.
pub(crate) async fn sh(session: &Any, line: &str) -> String {
    let output = session
        .output(ExecRequest::from_shell(line), CAP)
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {:?} {}",
        output.status,
        output.stderr_lossy()
    );
    output.stdout_lossy()
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

pub(crate) async fn exit_codes_are_data(session: &Any) {
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

pub(crate) async fn the_streams_are_told_apart(session: &Any) {
    let output = session
        .output(ExecRequest::from_shell("printf out; printf err >&2"), CAP)
        .await
        .unwrap();
    assert_eq!(
        (&output.stdout[..], &output.stderr[..]),
        (&b"out"[..], &b"err"[..])
    );
}

pub(crate) async fn arguments_arrive_as_they_are(session: &Any) {
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

pub(crate) async fn nul_is_refused(session: &Any) {
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

pub(crate) async fn a_directory_is_entered(session: &Any) {
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

pub(crate) async fn input_is_read_to_its_end(session: &Any) {
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

pub(crate) async fn a_command_that_does_not_read_can_end(session: &Any) {
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

pub(crate) async fn a_terminal_has_a_size(session: &Any) {
    // Input and sizes go different ways.
    let line = "stty size; until stty size | grep 132; do sleep 0.01; done; read line; \
                printf '%s' \"$TERM $line\"; exit 4";
    let mut request = ExecRequest::from_shell(line);
    request.pty = Some(Pty {
        term: "xterm-256color".into(),
        size: PtySize {
            columns: 80,
            rows: 24,
        },
    });
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    resize_once_seen(&mut process).await;
    stdin.write_all(b"typed\n").await.unwrap();
    let output = process.output(CAP).await.unwrap();
    let text = output.stdout_lossy();
    assert_eq!(output.status, ExitStatus::Code(4));
    assert!(
        text.contains("43 132") && text.contains("xterm-256color typed"),
        "{text:?}"
    );
}

/// Gives a terminal another size when it has shown its first.
async fn resize_once_seen(process: &mut Process) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("24 80") {
        match process.next().await.unwrap().unwrap() {
            ExecEvent::Stdout(bytes) => seen.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    process
        .control()
        .resize(PtySize {
            columns: 132,
            rows: 43,
        })
        .await
        .unwrap();
}

/// Where nobody types, what reads finds the end, and sizes arrive all the same.
pub(crate) async fn a_terminal_that_nobody_types_at(session: &Any) {
    let mut request =
        ExecRequest::from_shell("cat; stty size; until stty size | grep 132; do sleep 0.01; done");
    request.pty = Some(Pty {
        term: "xterm".into(),
        size: PtySize {
            columns: 80,
            rows: 24,
        },
    });
    let mut process = session.exec(request).await.unwrap();
    resize_once_seen(&mut process).await;
    assert_eq!(
        process.output(CAP).await.unwrap().status,
        ExitStatus::Code(0)
    );
}

/// Whatever the server takes by itself; and no process of the sandbox sees it.
pub(crate) async fn variables_arrive_and_are_not_seen(session: &Any) {
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

    // What follows is the command's own input, to the byte.
    request.stdin = true;
    let mut process = session.exec(request).await.unwrap();
    let mut stdin = process.take_stdin().unwrap();
    let data = [b"\\ first line\n".to_vec(), pattern(1 << 20)].concat();
    let sent = data.clone();
    let writing = tokio::spawn(async move { stdin.write_all(&sent).await.unwrap() });
    let output = process.output(4 << 20).await.unwrap();
    writing.await.unwrap();
    assert!(output.stdout.starts_with(SECRET.as_bytes()) && output.stdout.ends_with(&data));

    // A program as it is, with its exit code; and every process that there is meanwhile.
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
    let seen = process.output(8 << 20).await.unwrap();
    assert_eq!(seen.status, ExitStatus::Code(9));
    assert!(seen.stdout_lossy().contains("cmdline") && !seen.stdout_lossy().contains("s3cr3t"));
}

/// Also what a terminal would take for keys, and lines longer than it has; and then it is as it was.
pub(crate) async fn variables_arrive_in_a_terminal(session: &Any) {
    let secret = format!("s3cr3t \u{3}\u{4}\u{1a}\u{7f}\r\n\t'é {}", "x".repeat(6000));
    // What is typed is echoed when it comes, so nothing is written before it was read.
    let line = "hex=$(printf '%s' \"$SECRET\" | od -An -v -tx1 | tr -d ' \\n'); \
                modes=$(stty -a | tr ' ;' '\\n\\n' | grep -c -x -e isig -e icanon -e icrnl -e echo -e ixon); \
                read line; echo \"$hex\"; echo \"$modes\"; echo \"got $line\"; exit 4";
    let mut request = ExecRequest::from_shell(line);
    let size = PtySize {
        columns: 80,
        rows: 24,
    };
    request.pty = Some(Pty {
        term: "xterm".into(),
        size,
    });
    request.env.set("SECRET", secret.clone()).unwrap();
    request.stdin = true;
    for _ in 0..3 {
        let mut process = session.exec(request.clone()).await.unwrap();
        // At once: it waits for the terminal.
        process
            .take_stdin()
            .unwrap()
            .write_all(b"tyled\x7f\x7f\x7fped\n")
            .await
            .unwrap();
        let output = process.output(CAP).await.unwrap();
        let text = output.stdout_lossy();
        assert_eq!(output.status, ExitStatus::Code(4), "{text}");
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(text.contains(&hex) && !text.contains("s3cr3t"), "{text}");
        assert!(
            text.contains("\r\n5\r\n") && text.contains("got typed"),
            "{text}"
        );
        assert!(!text.contains('\u{6}'), "{text}");
    }
}

pub(crate) async fn much_output_is_capped_and_flagged(session: &Any) {
    const MUCH: u64 = 256 << 20;
    let before = resident();
    let request = ExecRequest::from_shell(format!("head -c {MUCH} /dev/zero; echo err >&2"));
    let output = session.output(request, 1000).await.unwrap();
    assert!(output.status.success() && output.is_truncated());
    assert_eq!(
        (output.stdout.len(), output.stdout_dropped),
        (1000, MUCH - 1000)
    );
    assert_eq!(&output.stderr[..], b"err\n");
    let grown = resident().saturating_sub(before);
    assert!(grown < 200 << 20, "{} MiB more", grown >> 20);
}

/// Bytes of memory in use.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

pub(crate) async fn a_background_process_does_not_hold_up(session: &Any) {
    let wait = Duration::from_secs(15);
    let run = session.output(
        ExecRequest::from_shell("echo begun; sleep 30 & exit 5"),
        CAP,
    );
    let output = tokio::time::timeout(wait, run)
        .await
        .expect("it waits for the sleep")
        .unwrap();
    assert_eq!(
        (output.status, &output.stdout[..]),
        (ExitStatus::Code(5), &b"begun\n"[..])
    );

    let process = session
        .exec(ExecRequest::from_shell("sleep 30 & echo begun"))
        .await
        .unwrap();
    let output = tokio::time::timeout(wait, process.output(CAP))
        .await
        .expect("it waits")
        .unwrap();
    assert_eq!(output.stdout_lossy(), "begun\n");
}

pub(crate) async fn a_command_runs_into_its_time_out(session: &Any) {
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
    gone(session, "timed-out", 2).await;
    assert_eq!(sh(session, "echo on").await, "on\n");
}

pub(crate) async fn a_command_that_nobody_waits_for_ends(session: &Any) {
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
        _ = session.output(request, CAP) => panic!("it sleeps"),
        () = begun => {}
    }
    gone(session, "dropped", 2).await;
}

/// Waits until so many processes, whose pids are in a file, are no more.
async fn gone(session: &Any, file: &str, count: usize) {
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
        .expect("it is still there");
}

pub(crate) async fn an_unread_stream_holds_up_nothing_else(session: &Any) {
    let mut unread = session.exec(ExecRequest::from_argv(["yes"])).await.unwrap();
    assert!(matches!(
        unread.next().await,
        Some(Ok(ExecEvent::Stdout(_)))
    ));
    // Long enough for every queue on the way to fill.
    tokio::time::sleep(Duration::from_millis(300)).await;
    for _ in 0..20 {
        assert_eq!(sh(session, "echo on").await, "on\n");
    }
    let before = resident();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(
        resident().saturating_sub(before) < 64 << 20,
        "what is not read is not collected either"
    );
    drop(unread);
    assert_eq!(
        session
            .exec(ExecRequest::from_argv(["true"]))
            .await
            .unwrap()
            .wait()
            .await
            .unwrap(),
        ExitStatus::Code(0)
    );
}

pub(crate) async fn a_port_is_reached(session: &Any) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut read, mut write) = stream.split();
        tokio::io::copy(&mut read, &mut write).await.unwrap();
    });
    let mut stream = session.open_stream("127.0.0.1", port).await.unwrap();
    stream.write_all(b"there and back").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer)
        .await
        .unwrap();
    assert_eq!(answer, "there and back");
    echo.await.unwrap();
    drop(stream);
    let Err(error) = session.open_stream("127.0.0.1", port).await else {
        panic!("nothing listens there")
    };
    assert!(matches!(error, Error::Connection(_)), "{error}");
}

/// Drives a future for a while, of `steps` turns of the runtime, and then drops it. Timers are
/// too coarse to hit what lies between two packets.
pub(crate) async fn cut_off<T>(future: impl Future<Output = T>, steps: u64) -> Option<T> {
    let turns = async {
        for _ in 0..steps {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        done = future => Some(done),
        () = turns => None,
    }
}

/// Futures dropped at every moment leave the server usable.
pub(crate) async fn cancelled_calls_leak_no_channel(session: &Any) {
    let mut finished = 0;
    for round in 0..200_u64 {
        let request = ExecRequest::from_argv(["echo", "x"]);
        // Most of them while the channel is opened.
        let steps = if round < 150 {
            round / 2 % 40
        } else {
            round * round / 10
        };
        finished += u32::from(match round % 2 {
            0 => cut_off(session.output(request, CAP), steps).await.is_some(),
            _ => cut_off(async { session.exec(request).await?.wait().await }, steps)
                .await
                .is_some(),
        });
    }
    assert!(finished < 190, "hardly any was cut off");
    let all = (0..20).map(|_| session.output(ExecRequest::from_argv(["true"]), CAP));
    for output in futures_util::future::join_all(all).await {
        assert!(output.unwrap().status.success());
    }
}

pub(crate) async fn many_callers_share(session: &Any) {
    let run = |n: u32| async move {
        let output = session
            .output(
                ExecRequest::from_argv(["echo".to_owned(), n.to_string()]),
                CAP,
            )
            .await
            .unwrap();
        assert_eq!(output.stdout_lossy(), format!("{n}\n"));
    };
    futures_util::future::join_all((0..64).map(run)).await;
}
