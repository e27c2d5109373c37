//! `sandbox extend`: put off a sandbox's end.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use sandbox::{Client, rfc3339};

use crate::args::id;
use crate::args::values::duration;
use crate::exit::Outcome;
use crate::ui::cells::span;
use crate::ui::messages;

/// Clocks of two machines, and the way there.
const SLACK: Duration = Duration::from_secs(60);

/// Let a sandbox live for some time from now, and print its new end
///
/// The end that --ttl or SANDBOX_TTL gave it is put off; one that is later already stays. Nothing puts off
/// the end of its longest life, SANDBOX_MAX_LIFETIME (24 hours): a note on stderr says so.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// How long from now, such as 30m or 2h
    #[arg(value_name = "TIME", value_parser = duration)]
    time: Duration,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    let info = sandbox.extend(args.time).await?;
    let Some(end) = info.expires_at else {
        bail!("sandbox {} has no end that could be put off", info.id);
    };
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    if left.saturating_add(SLACK) < args.time {
        messages::note(&format!(
            "it ends in {}, for that is its longest life",
            span(left)
        ));
    }
    messages::print(&format!("{}\n", rfc3339(end)))
}
