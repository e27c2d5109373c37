//! `sandbox man`: writes manual pages.

use std::path::PathBuf;

use anyhow::Context;
use clap::Command;

use crate::exit::Outcome;

/// Write manual pages, sandbox.1 and one for each subcommand
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory to write to
    directory: PathBuf,
}

pub(crate) fn run(args: &Args, command: Command) -> Outcome {
    let written = std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(command, &args.directory));
    written.with_context(|| format!("cannot write to {}", args.directory.display()))?;
    Ok(0)
}
