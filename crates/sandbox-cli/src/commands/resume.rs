//! `sandbox resume`: continues a paused sandbox.

use std::ffi::OsString;
use std::time::Duration;

use sandbox::Client;

use crate::args::id;
use crate::args::values::parse_positive_duration;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Continue a paused sandbox
///
/// What was left of --ttl counts on. If the sandbox was paused because that time had passed, all of it counts again.
/// Prints the id.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// End the sandbox after this time, in place of what was left
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    ttl: Option<Duration>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    if !sandbox.resume(args.ttl).await? {
        messages::print_note("it was not paused");
    }
    print(&Printable::line(sandbox.id().as_str()))
}
