//! `sandbox ssh-config`: makes sandboxes reachable for OpenSSH's tools by the name `<id>.sandbox`.

use std::ffi::OsString;

use anyhow::Result;
use sandbox::{Client, ListFilter, SandboxId, SandboxState};

use crate::args::id;
use crate::exit::Outcome;
use crate::openssh::files::SshFiles;
use crate::openssh::include;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Configure ssh, scp, sftp, rsync, git and editors to reach sandboxes as ID.sandbox
///
/// Prints a Host block for each sandbox, for ssh_config(5). With --install, ~/.ssh/config includes
/// the blocks, also those of sandboxes that `sandbox create` creates later. The keys are kept in
/// ~/.ssh/sandbox, and removed when the sandbox is deleted. If sandboxes in several places have the
/// same id, ID.sandbox is refused: use ID.NAMESPACE.sandbox, or the name that is printed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Ids of the sandboxes; by default, all that can be reached
    #[arg(value_name = "ID")]
    ids: Vec<OsString>,
    /// Include the blocks at the top of ~/.ssh/config instead of printing them
    #[arg(long)]
    install: bool,
    /// Undo --install and remove all keys
    #[arg(long, conflicts_with_all = ["install", "ids"])]
    uninstall: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox ssh-config --install        # then: ssh ID.sandbox
  rsync -a src/ ID.sandbox:src        # also with scp, sftp, git and editors
  sandbox ssh-config ID > block && ssh -F block ID.sandbox
  sandbox ssh-config --uninstall";

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let files = SshFiles::from_home()?;
    if args.uninstall {
        include::uninstall(&files)?;
        return Ok(0);
    }
    let ids = resolve_all(&args.ids, client).await?;
    // This comes before anything is written, so that a refusal changes nothing.
    let installation = if args.install {
        Some(include::prepare(&files)?)
    } else {
        None
    };
    let mut blocks = Vec::new();
    let mut reachable = Vec::new();
    for id in ids {
        match client.access(&id).await {
            Ok(access) => {
                let sandbox = files.write(client, &access)?;
                if let Some(note) = &sandbox.note {
                    messages::print_note(note);
                }
                blocks.push(sandbox.block);
                reachable.push(sandbox.host);
            }
            // This one was not named: another program may have its key, or its server may not be
            // running yet.
            Err(error) if args.ids.is_empty() => {
                messages::print_note(&format!("skipped {id}: {:#}", anyhow::Error::new(error)));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let Some(installation) = installation else {
        return print(&Printable::trusted(blocks.join("\n")));
    };
    if !installation.added_settings.is_empty() {
        messages::print_note(&format!(
            "~/.ssh/config has settings for all hosts that reach sandboxes, too, because ssh adds them up: {}; put them \
             below `Host * !*.sandbox`, or use `sandbox ssh`, which does not read that file",
            installation.added_settings.join(", ")
        ));
    }
    installation.apply(&files)?;
    match reachable.as_slice() {
        [] => {
            messages::print_note("installed: reach sandboxes that you create as `ssh ID.sandbox`")
        }
        [host, ..] => messages::print_note(&format!("installed: try `ssh {host}`")),
    }
    Ok(0)
}

/// Returns the sandboxes that were named, or else all that have not ended.
async fn resolve_all(texts: &[OsString], client: &Client) -> Result<Vec<SandboxId>> {
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
