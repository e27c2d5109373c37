//! `sandbox ssh-config`: the standard tools, by the name `<id>.sandbox`.

use std::ffi::OsString;

use anyhow::Result;
use sandbox::{Client, ListFilter, SandboxId, SandboxState};

use crate::args::id;
use crate::exit::Outcome;
use crate::openssh::block::host;
use crate::openssh::files::SshFiles;
use crate::openssh::include;
use crate::ui::messages;
use crate::ui::table::{Format, to_stdout};

/// Let ssh, scp, sftp, rsync, git and editors reach sandboxes by the name ID.sandbox
///
/// Prints a Host block for each sandbox, for ssh_config(5). With --install, ~/.ssh/config includes
/// these blocks from then on, also those of sandboxes that `sandbox create` makes later. The keys lie in
/// ~/.ssh/sandbox, and go when the sandbox is removed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The sandboxes; without any, all that can be reached
    #[arg(value_name = "ID")]
    ids: Vec<OsString>,
    /// Include the blocks at the top of ~/.ssh/config, in place of printing them
    #[arg(long)]
    install: bool,
    /// Take back what --install did, and remove all keys
    #[arg(long, conflicts_with_all = ["install", "ids"])]
    uninstall: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox ssh-config --install        # then: ssh ID.sandbox
  rsync -a src/ ID.sandbox:src        # and so with scp, sftp, git and editors
  sandbox ssh-config ID > block && ssh -F block ID.sandbox
  sandbox ssh-config --uninstall";

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let files = SshFiles::of_user()?;
    if args.uninstall {
        include::uninstall(&files)?;
        return Ok(0);
    }
    let ids = meant(&args.ids, client).await?;
    // Before anything is written: what is refused changes nothing.
    let installation = if args.install {
        Some(include::prepare(&files)?)
    } else {
        None
    };
    let mut blocks = Vec::new();
    let mut reachable = Vec::new();
    for id in ids {
        match client.access(&id).await {
            Ok(access) => blocks.push(std::fs::read_to_string(files.write(client, &access)?)?),
            // Nobody asked for this one: its key may be another program's, or its server not there yet.
            Err(error) if args.ids.is_empty() => {
                messages::note(&format!("left out {id}: {:#}", anyhow::Error::new(error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        reachable.push(id);
    }
    let Some(installation) = installation else {
        return to_stdout(Format::Table, &blocks.join("\n"));
    };
    installation.carry_out(&files)?;
    match reachable.as_slice() {
        [] => messages::note(
            "installed: sandboxes that `sandbox create` makes can be reached as ssh ID.sandbox",
        ),
        [id, ..] => messages::note(&format!("installed: try `ssh {}`", host(id))),
    }
    Ok(0)
}

/// Those that were named, or all that have not ended.
async fn meant(texts: &[OsString], client: &Client) -> Result<Vec<SandboxId>> {
    if texts.is_empty() {
        let found = client.list(ListFilter::default()).await?;
        return Ok(found
            .into_iter()
            .filter(|info| info.state != SandboxState::Ended)
            .map(|info| info.id)
            .collect());
    }
    let mut ids = Vec::new();
    for text in texts {
        ids.push(id::resolve(client, text).await?);
    }
    Ok(ids)
}
