//! A first sandbox, step by step: `cargo run --example quickstart`.
//!
//! It needs no cluster, no configuration and no privileges: the sandbox is a confined process tree
//! on this machine, with the same SSH server as a Pod.

use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sandbox::prelude::*;

/// Counts words slowly, to show that its output is streamed.
const SCRIPT: &str = r#"
words=$(wc -w < "$1")
for step in one two three; do
    echo "  counting, step $step"
    sleep 0.2
done
echo "$words words, counted by $(id -un) on $(uname -s), which shows $(ls -d /proc/[0-9]* | wc -l) processes" > report.txt
"#;

fn main() -> ExitCode {
    // This must come first, before any thread. If this process was started as the supervisor of a
    // sandbox, the call does not return.
    sandbox::local::init();
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    eprintln!("quickstart: {error}");
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        eprintln!("  caused by: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}

#[tokio::main]
async fn run() -> Result<()> {
    let client = Client::from_env().await?;
    let steps = Steps::start();

    let sbx = client
        .sandbox()
        .ttl(Duration::from_secs(600))
        .label("example", "quickstart")
        .create()
        .await?;
    steps.done(&format!(
        "created {} ({})",
        sbx.id(),
        sbx.info().isolation.kind
    ));

    let out = sbx
        .command("echo")
        .arg("hello from inside")
        .output()
        .await?
        .check()?;
    steps.done(&format!("ran a command: {}", out.stdout_lossy().trim_end()));

    let text = std::env::temp_dir().join(format!("{}.txt", sbx.id()));
    std::fs::write(&text, "the quick brown fox jumps over the lazy dog\n").map_err(failed)?;
    let size = sbx.upload(&text, "input.txt").await?;
    sbx.files().write("count.sh", SCRIPT).await?;
    steps.done(&format!("uploaded {size} bytes and a script"));

    let mut script = sbx
        .command("sh")
        .args(["count.sh", "input.txt"])
        .timeout(Duration::from_secs(30))
        .spawn()
        .await?;
    while let Some(event) = script.next().await {
        match event? {
            ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => {
                std::io::stdout().write_all(&bytes).map_err(failed)?;
            }
            ExecEvent::Notice(notice) => eprintln!("{notice}"),
            ExecEvent::Exited(status) => {
                steps.done(&format!("ran the script, streaming: {status}"))
            }
        }
    }

    let report = text.with_extension("report");
    sbx.download("report.txt", &report).await?;
    let report_text = std::fs::read_to_string(&report).map_err(failed)?;
    steps.done(&format!(
        "downloaded its report: {}",
        report_text.trim_end()
    ));

    sbx.delete().await?;
    steps.done("deleted it: no process, no mount, no file is left");

    std::fs::remove_file(text)
        .and_then(|()| std::fs::remove_file(report))
        .map_err(failed)
}

/// Prints each step with its duration.
struct Steps(std::cell::Cell<Instant>);

impl Steps {
    fn start() -> Self {
        Self(std::cell::Cell::new(Instant::now()))
    }

    fn done(&self, what: &str) {
        let took = self.0.replace(Instant::now()).elapsed();
        println!("{:>7.1} ms  {what}", took.as_secs_f64() * 1000.0);
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::invalid("file on this machine", "(example)", error.to_string())
}
