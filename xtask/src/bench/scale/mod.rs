//! Times one client with up to ten thousand sandboxes of a fake API server. What one of them costs must not grow with
//! their number.
//!
//! The API server is a process of its own, which answers over HTTP, and so is each measured client. No SSH connection
//! is opened: what each costs is measured by `sandbox-ssh`'s test `memory`.

pub(super) mod client;
mod figures;
pub(super) mod server;
mod sessions;
mod usage;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use self::figures::{Figures, print};

const SIZES: [usize; 3] = [100, 1_000, 10_000];

/// How much more a sandbox may cost at the largest size than at the smallest.
const MAX_GROWTH: f64 = 1.5;

/// Runs the benchmark for all sizes, or the named ones.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let sizes: Vec<usize> = match args {
        [] => SIZES.to_vec(),
        sizes => {
            let parsed = sizes.iter().map(|size| size.parse());
            parsed
                .collect::<Result<_, _>>()
                .context("name numbers of sandboxes")?
        }
    };
    let mut rows = Vec::new();
    for size in sizes {
        eprintln!("bench scale: {size} sandboxes");
        rows.push(measure(size)?);
    }
    print(&rows, MAX_GROWTH);
    Ok(())
}

fn measure(size: usize) -> Result<Figures> {
    let (mut server, port) = start_server()?;
    let measured = start_client(&port, size);
    // It ends by itself with its standard input, too.
    server.kill().context("cannot stop the API server")?;
    server.wait()?;
    measured
}

fn start_server() -> Result<(Child, String)> {
    let mut server = xtask(&["scale-server"])?
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot start the API server")?;
    let stdout = server.stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    ensure!(!line.is_empty(), "the API server did not start");
    Ok((server, line.trim().to_owned()))
}

fn start_client(port: &str, size: usize) -> Result<Figures> {
    let output = xtask(&["scale-client", port, &size.to_string()])?
        .stdin(Stdio::null())
        .output()
        .context("cannot start the client")?;
    if !output.status.success() {
        bail!("the client failed: {}", output.status);
    }
    serde_json::from_slice(&output.stdout).context("the client printed no figures")
}

fn xtask(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("bench")
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    Ok(command)
}
