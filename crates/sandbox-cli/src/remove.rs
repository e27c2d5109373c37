//! `sandbox rm`: take sandboxes away.

use std::ffi::OsString;

use sandbox::{Client, Error};

use crate::failure::{self, EXIT_FAILURE, Outcome};
use crate::options::sandbox_id;

/// Remove sandboxes, with all that runs in them
///
/// Removing one that does not exist is no failure: it is gone.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandboxes
    #[arg(value_name = "ID", required = true)]
    ids: Vec<OsString>,
    /// Taken for docker's sake: running sandboxes are removed in any case
    #[arg(short, long, hide = true)]
    force: bool,
}

pub(crate) async fn remove(args: Args, client: &Client) -> Outcome {
    let _same = args.force;
    // What is no id at all is a slip, and nothing is removed then.
    let ids = args.ids.iter().map(|id| sandbox_id(id)).collect::<anyhow::Result<Vec<_>>>()?;
    let mut code = 0;
    for id in ids {
        let known = client.get_sandbox_info(&id).await;
        // Also when it is unknown: something may be left of it.
        match (client.delete_sandbox(&id).await, known) {
            (Ok(()), Err(Error::NotFound { .. })) => failure::note(&format!("there is no sandbox {id}")),
            (Ok(()), _) => tracing::info!(%id, "removed"),
            (Err(error), _) => {
                failure::tell(&error.into());
                code = EXIT_FAILURE;
            }
        }
    }
    Ok(code)
}
