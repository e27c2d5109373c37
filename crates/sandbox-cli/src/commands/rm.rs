//! `sandbox rm`: take sandboxes away.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, stream};
use sandbox::{Client, Error, ListFilter, SandboxId};

use crate::args::id;
use crate::args::values::pair;
use crate::exit::{EXIT_FAILURE, Outcome};
use crate::openssh::files::SshFiles;
use crate::ui::messages;

/// Whoever was asked said no, which is no failure of this program.
const EXIT_DECLINED: u8 = 1;
/// How many are removed at once.
const AT_ONCE: usize = 16;

/// Remove sandboxes, with all that runs in them
///
/// Prints the id of each that it removed. One that does not exist is no failure, for it is gone: a note
/// on stderr says so. ID may be the beginning of a generated id (sbx-…); a name is meant as a whole.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandboxes
    #[arg(value_name = "ID", required_unless_present_any = ["all", "labels"])]
    ids: Vec<OsString>,
    /// All with this label; can be repeated, for those that have each
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair, conflicts_with = "ids")]
    labels: Vec<(String, String)>,
    /// All there are; asks before it does so, and exits with 1 when the answer is no
    #[arg(short, long, conflicts_with_all = ["ids", "labels"])]
    all: bool,
    /// Do not ask
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
            && !agreed(ids.len(), client.location()).await?
        {
            messages::note("nothing was removed");
            return Ok(EXIT_DECLINED);
        }
        ids
    } else {
        named(&args.ids, client).await?
    };
    let mut code = 0;
    let removals = ids.iter().map(|id| remove_one(client, id));
    let mut removals = stream::iter(removals).buffered(AT_ONCE);
    while let Some(removed) = removals.next().await {
        let told = match removed {
            Ok(Some(id)) => messages::print(&format!("{id}\n")).map(|_done| ()),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = told {
            messages::tell(&error);
            code = EXIT_FAILURE;
        }
    }
    Ok(code)
}

/// Its id, if it was there.
async fn remove_one<'a>(client: &Client, id: &'a SandboxId) -> Result<Option<&'a SandboxId>> {
    let known = client.get_sandbox_info(id).await;
    // Also when it is unknown: something may be left of it.
    client.delete_sandbox(id).await?;
    let files = SshFiles::of_user().ok();
    if let Some(files) = &files {
        files.forget(client, id)?;
    }
    if !matches!(known, Err(Error::NotFound { .. })) {
        return Ok(Some(id));
    }
    let elsewhere = files
        .map(|files| files.elsewhere(client, id))
        .transpose()?
        .flatten();
    messages::note(&match elsewhere {
        Some(place) => format!(
            "there is no sandbox {id} here; the one that `ssh {id}.sandbox` reaches was made elsewhere, and its \
             keys stay. To remove it: {place} sandbox rm {id}"
        ),
        None => format!("there is no sandbox {id}"),
    });
    Ok(None)
}

/// What was named, before anything is removed: what is no id at all is a slip.
async fn named(texts: &[OsString], client: &Client) -> Result<Vec<SandboxId>> {
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

/// Asks on the terminal.
async fn agreed(count: usize, place: Option<&str>) -> Result<bool> {
    if !io::stdin().is_terminal() {
        bail!("--all wants to be confirmed, and standard input is no terminal: add --force");
    }
    let place = place.map_or_else(
        || "on this machine".to_owned(),
        |place| format!("in {place}"),
    );
    let answer = tokio::task::spawn_blocking(move || {
        let mut stderr = io::stderr();
        let which = if count == 1 {
            "the one sandbox".to_owned()
        } else {
            format!("all {count} sandboxes")
        };
        write!(stderr, "Remove {which} {place}? [y/N] ").and_then(|()| stderr.flush())?;
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = answer
        .await
        .context("the question could not be asked")?
        .context("cannot read the answer")?;
    Ok(matches!(
        line.trim().to_ascii_lowercase().as_str(),
        "y" | "yes"
    ))
}
