//! `sandbox completions`: prints completion scripts for shells.

use anyhow::Context;
use clap::Command;
use clap_complete::Shell;

use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;

/// Print a completion script for a shell
///
/// For bash: `sandbox completions bash > ~/.local/share/bash-completion/completions/sandbox`. For
/// zsh, write it to a file `_sandbox` in a directory of $fpath; for fish, to
/// ~/.config/fish/completions/sandbox.fish.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args, command: &mut Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "sandbox", &mut script);
    let script = String::from_utf8(script).context("the script is not UTF-8")?;
    messages::print_stdout(&Printable::trusted(script))
}
