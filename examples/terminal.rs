//! A program that wants a terminal: `cargo run --example terminal`.
//!
//! For a person at a keyboard there is `sandbox exec -it`; this is for programs that drive others.

use sandbox::PtySize;
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

    // With a terminal, both outputs are one, lines end in \r\n, and keys are echoed.
    let mut shell = sbx.command("sh").env("PS1", "$ ").stdin_piped().pty(80, 24).spawn().await?;
    let control = shell.control();
    let Some(mut keys) = shell.take_stdin() else { return sbx.delete().await };
    let mut script = ["test -t 0 && echo a terminal\n", "stty size\n", "stty size\n", "exit 3\n"].into_iter();
    let mut resized = false;
    while let Some(event) = shell.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                print!("{}", String::from_utf8_lossy(&bytes));
                // The prompt: the next line is typed. Before the third, the window has grown.
                if bytes.ends_with(b"$ ") || bytes.ends_with(b"# ") {
                    if script.len() == 2 && !resized {
                        control.resize(PtySize { columns: 120, rows: 40 }).await?;
                        resized = true;
                    }
                    if let Some(line) = script.next() {
                        keys.write_all(line.as_bytes()).await.ok(); // its end tells if it is gone
                    }
                }
            }
            ExecEvent::Exited(status) => println!("\nthe shell ended: {status}"),
        }
    }
    sbx.delete().await
}
