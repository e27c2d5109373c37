//! `sandbox completions` and `sandbox man`: what is generated from the options.

use std::path::PathBuf;

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::failure::{self, Outcome};

/// Print what completes this command's options in a shell
///
/// For bash: `sandbox completions bash > ~/.local/share/bash-completion/completions/sandbox`. For zsh,
/// to a file `_sandbox` in a directory of $fpath; for fish, to ~/.config/fish/completions/sandbox.fish.
#[derive(clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Write manual pages, sandbox.1 and one for each subcommand
#[derive(clap::Args)]
pub(crate) struct ManArgs {
    /// The directory to write them to
    directory: PathBuf,
}

pub(crate) fn completions(args: &CompletionArgs, command: &mut Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "sandbox", &mut script);
    failure::print(&String::from_utf8(script).context("the script is not UTF-8")?)
}

pub(crate) fn man(args: &ManArgs, command: Command) -> Outcome {
    let written = std::fs::create_dir_all(&args.directory)
        .and_then(|()| clap_mangen::generate_to(command, &args.directory));
    written.with_context(|| format!("cannot write to {}", args.directory.display()))?;
    Ok(0)
}
