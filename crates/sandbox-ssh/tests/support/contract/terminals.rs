//! Commands in a terminal.

use sandbox_core::{ExecEvent, ExecRequest, ExitStatus, Process, Pty, PtySize};
use tokio::io::AsyncWriteExt;

use super::{AnySession, CAP};

pub(crate) async fn a_terminal_has_a_size(session: &AnySession) {
    // Input and sizes take different ways.
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
    resize_after_first_output(&mut process).await;
    stdin.write_all(b"typed\n").await.unwrap();
    let output = process.output(CAP).await.unwrap();
    let text = output.stdout_lossy();
    assert_eq!(output.status, ExitStatus::Code(4));
    assert!(
        text.contains("43 132") && text.contains("xterm-256color typed"),
        "{text:?}"
    );
}

/// Resizes a terminal once it has shown its first size.
async fn resize_after_first_output(process: &mut Process) {
    let mut output = Vec::new();
    while !String::from_utf8_lossy(&output).contains("24 80") {
        match process.next().await.unwrap().unwrap() {
            ExecEvent::Stdout(bytes) => output.extend_from_slice(&bytes),
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

/// A program that reads finds the end of its input, and sizes arrive nevertheless.
pub(crate) async fn a_terminal_without_input(session: &AnySession) {
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
    resize_after_first_output(&mut process).await;
    assert_eq!(
        process.output(CAP).await.unwrap().status,
        ExitStatus::Code(0)
    );
}

/// Including bytes that a terminal interprets as keys, and lines that exceed its limit. The terminal
/// is restored afterwards.
pub(crate) async fn variables_arrive_in_a_terminal(session: &AnySession) {
    let secret = format!("s3cr3t \u{3}\u{4}\u{1a}\u{7f}\r\n\t'é {}", "x".repeat(6000));
    // Typed input is echoed when it arrives, so output is written only after it was read.
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
        // Sent at once: the input waits for the terminal.
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
