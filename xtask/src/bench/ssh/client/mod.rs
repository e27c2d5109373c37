//! The clients under test. `xtask bench ssh-client KIND TARGET` is our client or starts OpenSSH's
//! programs; the Python clients are a script.

mod openssh;
mod sandbox_ssh;

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::protocol::{Done, Op, Target};

/// The script of the Python clients.
pub(super) const PYTHON: &str = include_str!("client.py");

/// Performs operations until the input ends.
pub(crate) fn run(args: &[&str]) -> Result<()> {
    let [kind, target] = args else {
        bail!("`bench ssh` starts this process itself")
    };
    let target: Target = serde_json::from_str(target)?;
    match *kind {
        "ours" => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            let mut client = sandbox_ssh::SandboxSsh::new(target)?;
            perform_all(
                |op| runtime.block_on(client.perform(op)),
                UsageWho::RUSAGE_SELF,
            )
        }
        tool => {
            let mut client = openssh::Tool::new(tool, target);
            perform_all(|op| client.perform(op), UsageWho::RUSAGE_CHILDREN)
        }
    }
}

/// Performs the operations of the input and writes their results. `perform` returns the number of
/// commands.
fn perform_all(mut perform: impl FnMut(Op) -> Result<u64>, who: UsageWho) -> Result<()> {
    let (mut stdout, stdin) = (std::io::stdout().lock(), std::io::stdin().lock());
    for line in stdin.lines() {
        let op: Op = serde_json::from_str(&line?).context("unknown operation")?;
        let times = if let Op::Exec { times } = op {
            times
        } else {
            1
        };
        let before = cpu_seconds(who)?;
        let mut done = Done::default();
        for _ in 0..times {
            let start = Instant::now();
            let result = perform(op.clone());
            done.each.push(start.elapsed().as_secs_f64());
            match result {
                Ok(count) => done.count += count,
                Err(error) => done.error = Some(format!("{error:#}")),
            }
        }
        done.seconds = done.each.iter().sum();
        done.cpu = cpu_seconds(who)? - before;
        done.peak = u64::try_from(getrusage(who)?.max_rss()).unwrap_or(0);
        serde_json::to_writer(&mut stdout, &done)?;
        stdout.write_all(b"\n")?;
        stdout.flush()?;
    }
    Ok(())
}

fn cpu_seconds(who: UsageWho) -> Result<f64> {
    let usage = getrusage(who)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}
