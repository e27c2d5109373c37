//! `sandbox extend`: changes when a sandbox ends.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use anyhow::bail;
use sandbox::{Client, rfc3339};

use crate::args::id;
use crate::args::values::parse_positive_duration;
use crate::exit::Outcome;
use crate::ui::cells::format_duration;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Tolerance for the difference of two clocks and the time of the request.
const TOLERANCE: Duration = Duration::from_secs(60);

/// Extend the lifetime of a sandbox, and print the new end
///
/// Postpones the end that was set with --ttl or SANDBOX_TTL; a later end is kept, unless --exactly is given. The end is
/// never later than SANDBOX_MAX_LIFETIME (24 hours) permits; a note on stderr reports if this limits it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Time from now, such as 30m or 2h
    #[arg(value_name = "TIME", value_parser = parse_positive_duration)]
    time: Duration,
    /// End the sandbox exactly then, also if it would have ended later, or not by itself
    #[arg(long)]
    exactly: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    let info = if args.exactly {
        sandbox.set_ttl(args.time).await?
    } else {
        sandbox.extend(args.time).await?
    };
    let Some(end) = info.expires_at else {
        bail!(
            "sandbox {} does not expire, so it cannot be extended",
            info.id
        );
    };
    let left = end.duration_since(SystemTime::now()).unwrap_or_default();
    if left.saturating_add(TOLERANCE) < args.time {
        messages::print_note(&format!(
            "the end is limited to {} from now by its maximum lifetime (SANDBOX_MAX_LIFETIME)",
            format_duration(left)
        ));
    }
    print(&Printable::line(rfc3339(end)))
}
