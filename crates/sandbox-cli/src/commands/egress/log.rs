//! `sandbox egress log`: prints what was decided about a sandbox's connections.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sandbox::{Client, Error, SandboxId, SandboxState};
use tokio::time::Instant;

use crate::args::id;
use crate::egress_log::{Decision, LogReader};
use crate::exit::Outcome;
use crate::ui::stdio::Stdout;

/// Show what was decided about a sandbox's connections, as lines of JSON
///
/// `sandbox run` with egress rules and `sandbox egress` record their decisions on this machine, 16 MiB for each sandbox at
/// most, and for a week after the last one, also if the sandbox is gone. Programs that use the library and the gateway
/// (`sandbox serve`) report theirs to their own logs.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Follow the log until the sandbox has ended
    #[arg(short, long)]
    follow: bool,
    /// Show only the last N decisions
    #[arg(short = 'n', long, visible_alias = "tail", value_name = "N")]
    lines: Option<usize>,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
}

/// How often the file is read again.
const READ_INTERVAL: Duration = Duration::from_millis(200);
/// How often it is checked whether the sandbox has ended.
const STATE_INTERVAL: Duration = Duration::from_secs(2);

pub(super) async fn run(args: Args, client: &Client) -> Outcome {
    let id = find_id(client, &args.id).await?;
    let mut reader = LogReader::for_sandbox(&id)?;
    if !args.follow && !reader.exists() {
        bail!(
            "nothing was decided about sandbox {id} on this machine; decisions are recorded by `sandbox run` with egress \
             rules and by `sandbox egress`"
        );
    }
    let mut last = VecDeque::new();
    let mut printed = Ok(true);
    reader
        .read_more(&mut |decision| match args.lines {
            Some(count) => {
                last.push_back(decision);
                if last.len() > count {
                    last.pop_front();
                }
            }
            None => print_unless_failed(&mut printed, &decision),
        })
        .context("cannot read the log")?;
    for decision in &last {
        print_unless_failed(&mut printed, decision);
    }
    if !args.follow {
        return printed.map(|_is_open| 0);
    }
    let mut next_check = Instant::now();
    while let Ok(true) = printed {
        // What was decided before the end is read after it.
        let has_ended = Instant::now() >= next_check && has_ended(client, &id).await?;
        if Instant::now() >= next_check {
            next_check = Instant::now() + STATE_INTERVAL;
        }
        reader
            .read_more(&mut |decision| print_unless_failed(&mut printed, &decision))
            .context("cannot read the log")?;
        if has_ended {
            break;
        }
        tokio::time::sleep(READ_INTERVAL).await;
    }
    printed.map(|_is_open| 0)
}

/// Finds a sandbox, also one that is gone.
async fn find_id(client: &Client, text: &OsString) -> Result<SandboxId> {
    match id::resolve(client, text).await {
        Err(error) if matches!(error.downcast_ref(), Some(Error::NotFound { .. })) => {
            id::parse(text)
        }
        found => found,
    }
}

async fn has_ended(client: &Client, id: &SandboxId) -> Result<bool> {
    match client.get_sandbox_info(id).await {
        Ok(info) => Ok(info.state == SandboxState::Ended),
        Err(Error::NotFound { .. }) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Prints a decision. `printed` is `Ok(false)` once the reader of the output is gone.
fn print_unless_failed(printed: &mut Result<bool>, decision: &Decision) {
    if let Ok(true) = printed {
        *printed = print(decision);
    }
}

fn print(decision: &Decision) -> Result<bool> {
    let line = decision.format_json()?;
    match writeln!(Stdout, "{}", line.as_str()).and_then(|()| Stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to stdout"),
    }
}
