//! Much data, in turns: after each transfer of Rust the same one of Python, so that what else the machine does meanwhile, such
//! as writing what was transferred before, concerns both.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sandbox::{ExecEvent, Sandbox};

use super::super::figures::{Figures, table};

/// As in client.py.
const SIZE: u64 = 1 << 30;
const TURNS: usize = 7;
const WORK: [&str; 3] = ["upload", "download", "output"];

/// Times transfers of a file each way, and of the output of a command.
pub(super) async fn measure_turns(
    sbx: &Sandbox,
    python: &Path,
    script: &Path,
    directory: &Path,
) -> Result<()> {
    let local = directory.join("data");
    write_zeros(&local)?;
    let mut peer = Peer::start(python, script, sbx, &local)?;
    for work in WORK {
        let (mut rust, mut other) = (Figures::default(), Figures::default());
        // The first turn creates the files, and opens the connections.
        for turn in 0..=TURNS {
            let start = Instant::now();
            transfer(sbx, work, &local).await?;
            let took = start.elapsed();
            let peer_took = peer.transfer(work)?;
            if turn > 0 {
                rust.add_duration(took);
                other.add_duration(peer_took);
            }
        }
        let rows = [("Rust", Some(&rust)), ("sandbox_sdk", Some(&other))];
        table(&format!("1 GiB, {work}"), "Rust", &rows);
        println!(
            "\nsandbox_sdk / Rust, each turn: {:.2?}",
            other.ratios(&rust)
        );
    }
    peer.finish()
}

async fn transfer(sbx: &Sandbox, work: &str, local: &Path) -> Result<()> {
    match work {
        "upload" => sbx.upload(local, "rust").await.map(drop)?,
        "download" => sbx.download("rust", local).await.map(drop)?,
        _ => {
            let size = SIZE.to_string();
            let command = sbx.command("head").args(["-c", &size, "/dev/zero"]);
            let mut process = command.spawn().await?;
            let mut received = 0;
            while let Some(event) = process.next().await {
                if let ExecEvent::Stdout(data) = event? {
                    received += data.len() as u64;
                }
            }
            ensure!(received == SIZE, "{received} bytes of output arrived");
        }
    }
    Ok(())
}

/// The client in Python, which does what each line of its input names, and prints how many seconds that took.
struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(python: &Path, script: &Path, sbx: &Sandbox, local: &Path) -> Result<Self> {
        let mut child = Command::new(python)
            .arg(script)
            .args(["turns", sbx.id().as_str()])
            .arg(local)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start Python")?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the client in Python has no pipes");
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    fn transfer(&mut self, work: &str) -> Result<Duration> {
        writeln!(self.input, "{work}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        let seconds = line
            .trim()
            .parse()
            .context("the client failed, see above")?;
        Ok(Duration::from_secs_f64(seconds))
    }

    fn finish(mut self) -> Result<()> {
        drop(self.input);
        let status = self.child.wait()?;
        ensure!(status.success(), "the client failed, see above");
        Ok(())
    }
}

fn write_zeros(path: &Path) -> Result<()> {
    let mut file = std::fs::File::create(path)?;
    std::io::copy(&mut std::io::repeat(0).take(SIZE), &mut file)?;
    Ok(())
}
