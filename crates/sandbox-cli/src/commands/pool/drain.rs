//! `sandbox pool drain`: deletes what waits in a pool.

use sandbox::{Client, PoolName};

use super::refuse_if_filled;
use crate::exit::Outcome;
use crate::ui::messages;

/// Delete the sandboxes that wait in a pool
///
/// Those that were taken stay. A pool that a process fills would be filled again, so this is refused
/// without --force.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Name of the pool
    name: PoolName,
    /// Delete them although a process fills the pool: it replaces them by new ones
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(args: Args, client: &Client, quiet: bool) -> Outcome {
    if !args.force {
        refuse_if_filled(client, &args.name).await?;
    }
    let deleted = client.drain_pool(&args.name).await?;
    if !quiet {
        messages::print_note(&format!(
            "{deleted} sandboxes of pool {} deleted",
            args.name
        ));
    }
    Ok(0)
}
