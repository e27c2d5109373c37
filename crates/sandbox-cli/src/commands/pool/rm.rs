//! `sandbox pool rm`: removes pools.

use sandbox::{Client, PoolName};

use super::refuse_if_filled;
use crate::exit::Outcome;
use crate::ui::messages;

/// Remove pools: the sandboxes that wait in them, and the record of who fills them
///
/// Those that were taken stay. A pool that a process fills is not removed without --force: that process
/// would fill it again.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Names of the pools
    #[arg(required = true, value_name = "NAME")]
    names: Vec<PoolName>,
    /// Remove them although a process fills them
    #[arg(short, long)]
    force: bool,
}

pub(crate) async fn run(args: Args, client: &Client, quiet: bool) -> Outcome {
    for name in &args.names {
        if !args.force {
            refuse_if_filled(client, name).await?;
        }
        let note = match client.remove_pool(name).await? {
            Some(deleted) => format!("pool {name} removed, {deleted} sandboxes deleted"),
            None => format!("there is no pool {name}"),
        };
        if !quiet {
            messages::print_note(&note);
        }
    }
    Ok(0)
}
