//! `sandbox pool`: pools of waiting sandboxes that processes share.

mod drain;
mod ls;
mod rm;
mod run;

use anyhow::{Result, bail};
use clap::Subcommand;
use sandbox::{Client, PoolName, PoolSummary};

use crate::exit::Outcome;
use crate::interrupt::Interrupts;

/// Fill, list and remove pools of waiting sandboxes (Kubernetes)
///
/// One process fills a pool: `sandbox pool run NAME`. Any other one takes a sandbox from it:
/// `sandbox run --pool NAME`, `sandbox create --pool NAME`, or a program. Nothing is installed in the
/// cluster.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(Box<run::Args>),
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Drain(drain::Args),
    #[command(visible_aliases = ["delete", "remove"])]
    Rm(rm::Args),
}

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    match args.command {
        // It stops on a signal, so it handles signals itself.
        Command::Run(args) => run::run(*args, client, interrupts, quiet).await,
        Command::Ls(args) => interrupts.run_until_signal(ls::run(args, client)).await,
        Command::Drain(args) => {
            interrupts
                .run_until_signal(drain::run(args, client, quiet))
                .await
        }
        Command::Rm(args) => {
            interrupts
                .run_until_signal(rm::run(args, client, quiet))
                .await
        }
    }
}

/// Refuses to empty a pool that a process fills, because that process would fill it again.
async fn refuse_if_filled(client: &Client, name: &PoolName) -> Result<()> {
    let pools = client.list_pools().await?;
    let filler = |pool: &PoolSummary| pool.filler.clone().filter(|_| pool.name == *name);
    if let Some(filler) = pools.iter().find_map(filler) {
        bail!(
            "pool {name} is filled by {filler}, which would fill it again; stop that process first, or use --force"
        );
    }
    Ok(())
}
