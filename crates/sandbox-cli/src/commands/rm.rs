//! `sandbox rm`: deletes sandboxes.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, stream};
use sandbox::{Client, Error, ListFilter, SandboxId};

use crate::args::id;
use crate::args::values::parse_pair;
use crate::exit::{EXIT_FAILURE, Outcome};
use crate::openssh::files::SshFiles;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// The user answered no, which is not a failure of this program.
const EXIT_DECLINED: u8 = 1;
/// How many sandboxes are deleted at the same time.
const CONCURRENCY: usize = 16;

/// Delete sandboxes and everything in them
///
/// Prints the id of each sandbox that was deleted. A sandbox that does not exist is not an error; a
/// note on stderr reports it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Ids of the sandboxes, or unique beginnings of generated ids
    #[arg(value_name = "ID", required_unless_present_any = ["all", "labels"])]
    ids: Vec<OsString>,
    /// Delete all sandboxes with this label; can be repeated, to require several labels
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_pair, conflicts_with = "ids")]
    labels: Vec<(String, String)>,
    /// Delete all sandboxes; asks for confirmation, and exits with 1 if the answer is no
    #[arg(short, long, conflicts_with_all = ["ids", "labels"])]
    all: bool,
    /// Do not ask for confirmation
    #[arg(short, long, visible_alias = "yes")]
    force: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let ids = if args.ids.is_empty() {
        let found = client.list(ListFilter::from_labels(args.labels)).await?;
        let ids: Vec<_> = found.into_iter().map(|info| info.id).collect();
        if args.all
            && !args.force
            && !ids.is_empty()
            && !confirm(ids.len(), client.location()).await?
        {
            messages::print_note("nothing was deleted");
            return Ok(EXIT_DECLINED);
        }
        ids
    } else {
        resolve_all(&args.ids, client).await?
    };
    let mut code = 0;
    let deletions = ids.iter().map(|id| delete_one(client, id));
    let mut deletions = stream::iter(deletions).buffered(CONCURRENCY);
    while let Some(deleted) = deletions.next().await {
        let printed = match deleted {
            Ok(Some(id)) => print(&Printable::line(id.as_str())).map(|_code| ()),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = printed {
            messages::print_error(&error);
            code = EXIT_FAILURE;
        }
    }
    Ok(code)
}

/// Deletes a sandbox. Returns its id if it existed.
async fn delete_one<'a>(client: &Client, id: &'a SandboxId) -> Result<Option<&'a SandboxId>> {
    let info = client.get_sandbox_info(id).await;
    // A sandbox that is not found is deleted, too, because parts of it may be left.
    client.delete_sandbox(id).await?;
    let files = SshFiles::from_home().ok();
    if let Some(files) = &files {
        files.remove_deleted(client, id)?;
    }
    if !matches!(info, Err(Error::NotFound { .. })) {
        return Ok(Some(id));
    }
    let other_environment = files
        .map(|files| files.find_other_environment(client, id))
        .transpose()?
        .flatten();
    messages::print_note(&match other_environment {
        Some(environment) => format!(
            "there is no sandbox {id} here; `ssh {id}.sandbox` connects to one with other settings, which was not \
             deleted. To delete it: {environment} sandbox rm {id}"
        ),
        None => format!("there is no sandbox {id}"),
    });
    Ok(None)
}

/// Resolves all ids before anything is deleted, so that a typo in one of them deletes nothing.
async fn resolve_all(texts: &[OsString], client: &Client) -> Result<Vec<SandboxId>> {
    let mut ids: Vec<SandboxId> = Vec::new();
    for text in texts {
        let id = match id::resolve(client, text).await {
            Ok(id) => id,
            Err(error) => match error.downcast_ref::<Error>() {
                Some(Error::NotFound { .. }) => id::parse(text)?,
                _ => return Err(error),
            },
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Asks for confirmation on the terminal.
async fn confirm(count: usize, location: Option<&str>) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("--all asks for confirmation, but stdin is not a terminal; add --force");
    }
    let location = location.map_or_else(
        || "on this machine".to_owned(),
        |location| format!("in {location}"),
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = io::stderr();
        let which = if count == 1 {
            "the one sandbox".to_owned()
        } else {
            format!("all {count} sandboxes")
        };
        write!(stderr, "Delete {which} {location}? [y/N] ").and_then(|()| stderr.flush())?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = answer
        .await
        .context("cannot ask for confirmation")?
        .context("cannot read the answer")?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
