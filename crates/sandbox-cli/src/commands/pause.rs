//! `sandbox pause`: stops the processes of a sandbox where they are.

use std::ffi::OsString;

use sandbox::Client;

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Pause a sandbox: stop all of its processes where they are, until `sandbox resume`
///
/// Memory and files stay, and files can be copied. The time of --ttl stands still; that of SANDBOX_MAX_LIFETIME (24
/// hours) does not. Prints the id.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    if !sandbox.pause().await? {
        messages::print_note("it was paused already");
    }
    print(&Printable::line(sandbox.id().as_str()))
}
