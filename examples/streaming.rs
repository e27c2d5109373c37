//! Streaming output, interactive input, a signal, a timeout: `cargo run --example streaming`.

use std::io::Write;
use std::time::Duration;

use sandbox::prelude::*;
use tokio::io::AsyncWriteExt;

fn main() -> Result<()> {
    sandbox::local::init(); // first, before any thread
    run()
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    let sbx = client.sandbox().create().await?;

    // Answers the questions of a program, over its standard input.
    let mut questions = sbx
        .shell(
            "for n in 1 2 3; do printf 'a number? '; read x; echo \"twice $x is $((2 * x))\"; done",
        )
        .stdin_piped()
        .spawn()
        .await?;
    let mut answers = questions.take_stdin();
    let mut next = 7;
    while let Some(event) = questions.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                print(&bytes);
                if let (true, Some(stdin)) = (bytes.ends_with(b"? "), &mut answers) {
                    // The program may have ended without reading. Its exit status shows that.
                    stdin.write_all(format!("{next}\n").as_bytes()).await.ok();
                    next *= 10;
                }
            }
            ExecEvent::Notice(notice) => eprintln!("[{notice}]"),
            ExecEvent::Exited(status) => println!("[{status}]"),
        }
    }

    // Sends a signal to a program that would run forever. The control is a separate handle, so that
    // another task can use it.
    let mut server = sbx
        .shell("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.1; done")
        .spawn()
        .await?;
    let control = server.control();
    while let Some(event) = server.next().await {
        match event? {
            ExecEvent::Stdout(bytes) if bytes.starts_with(b"up") => {
                control.signal(Signal::Term).await?
            }
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => print(&bytes),
            ExecEvent::Notice(notice) => eprintln!("[{notice}]"),
            ExecEvent::Exited(status) => println!("[{status}]"),
        }
    }

    // A command that takes too long is killed, with everything it started.
    let error = sbx
        .command("sleep")
        .arg("60")
        .timeout(Duration::from_millis(300))
        .output()
        .await;
    println!(
        "{}",
        error
            .err()
            .map_or_else(String::new, |error| error.to_string())
    );

    sbx.delete().await
}

fn print(bytes: &[u8]) {
    let mut stdout = std::io::stdout();
    // A closed terminal cannot show an error either.
    stdout.write_all(bytes).and_then(|()| stdout.flush()).ok();
}
