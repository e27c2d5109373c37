//! A program that needs a terminal: `cargo run --example terminal`.
//!
//! At a keyboard, use `sandbox exec -it`. This is for programs that drive other programs.

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

    // In a terminal, both outputs are one stream, lines end in \r\n, and input is echoed.
    let mut shell = sbx
        .command("sh")
        .env("PS1", "$ ")
        .stdin_piped()
        .pty(80, 24)
        .spawn()
        .await?;
    let control = shell.control();
    let Some(mut keys) = shell.take_stdin() else {
        return sbx.delete().await;
    };
    let mut script = [
        "test -t 0 && echo a terminal\n",
        "stty size\n",
        "stty size\n",
        "exit 3\n",
    ]
    .into_iter();
    let mut resized = false;
    while let Some(event) = shell.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                print!("{}", String::from_utf8_lossy(&bytes));
                // At the prompt, types the next line. Before the third, resizes the window.
                if bytes.ends_with(b"$ ") || bytes.ends_with(b"# ") {
                    if script.len() == 2 && !resized {
                        control
                            .resize(PtySize {
                                columns: 120,
                                rows: 40,
                            })
                            .await?;
                        resized = true;
                    }
                    if let Some(line) = script.next() {
                        // The shell may have ended. Its exit status shows that.
                        keys.write_all(line.as_bytes()).await.ok();
                    }
                }
            }
            ExecEvent::Notice(notice) => eprintln!("{notice}"),
            ExecEvent::Exited(status) => println!("\nthe shell ended: {status}"),
        }
    }
    sbx.delete().await
}
