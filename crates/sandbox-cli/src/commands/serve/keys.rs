//! `sandbox serve keys`: the keys of the gateway.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Subcommand;
use sandbox::Settings;

use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Create a key, and print it once
    ///
    /// The file gets the name and a hash. Running gateways accept the key within a second. Sandboxes belong to the name:
    /// to replace a key, add another one under the same name, and delete the line of the former one later.
    Add {
        /// Who the key is for: letters, digits, dashes, dots and underscores
        name: String,
        /// File of keys, created if it is missing (overrides SANDBOX_GATEWAY_KEYS)
        #[arg(long, value_name = "FILE")]
        keys: Option<PathBuf>,
    },
}

pub(crate) fn run(command: Command, settings: &Settings) -> Outcome {
    match command {
        Command::Add { name, keys } => {
            let path = keys_file(keys, settings)?;
            let key = sandbox_gateway::add_key(&path, &name)?;
            messages::print_stdout(&Printable::line(&key).with_trusted("\n"))
        }
    }
}

fn keys_file(option: Option<PathBuf>, settings: &Settings) -> Result<PathBuf> {
    option
        .or_else(|| settings.gateway.keys.clone())
        .ok_or_else(|| {
            anyhow!("there is no file of keys; name one with --keys or SANDBOX_GATEWAY_KEYS")
        })
}
