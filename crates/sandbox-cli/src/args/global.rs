//! Options of every subcommand.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ArgAction;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sandbox::{Client, Settings};
use sandbox_config::BackendKind;
use tracing_subscriber::EnvFilter;

use crate::args::env_file;
use crate::ui::{messages, terminal};

/// Options of every subcommand.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Read settings of this program from this file, beneath the environment (see .env.example)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    env_file: Option<PathBuf>,
    /// Where sandboxes are made, over SANDBOX_BACKEND
    #[arg(long, global = true, value_name = "NAME", value_parser = backend_parser(), help_heading = "Global options")]
    backend: Option<BackendKind>,
    /// Tell on stderr what is done; twice for more
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// No remarks about where it works and what its settings are, and no progress
    // Some subcommands have a narrower sense for the same letter, and then it has both.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

impl Global {
    /// Sends the log to stderr: warnings of ours, or more.
    pub(crate) fn start_log(&self) {
        let filter = match self.verbose {
            0 => "off,sandbox=warn",
            1 => "warn,sandbox=info",
            2 => "info,sandbox=debug",
            _ => "trace",
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(std::io::stderr)
            .with_ansi(terminal::has_colours(&std::io::stderr()))
            .with_target(self.verbose > 1)
            .without_time()
            .init();
    }

    /// The settings, with what the options say over them.
    pub(crate) fn settings(&self) -> Result<Settings> {
        let mut settings = match &self.env_file {
            Some(file) => Settings::from_dotenv(file)?,
            None => Settings::from_env()?,
        };
        if let Some(backend) = self.backend {
            settings.backend = backend;
        }
        Ok(settings)
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        let settings = self.settings()?;
        if let Some(remark) = self
            .env_file
            .as_deref()
            .filter(|_| !self.quiet)
            .and_then(env_file::remark)
        {
            messages::note(&remark);
        }
        if self.verbose > 0 && !settings.unknown.is_empty() {
            messages::note(&format!(
                "these variables mean nothing to it: {}",
                settings.unknown.join(", ")
            ));
        }
        let client = Client::from_settings(&settings).await.with_context(|| {
            format!(
                "cannot use the backend {}, which SANDBOX_BACKEND or --backend chose",
                settings.backend
            )
        })?;
        Ok(client)
    }

    /// Says where it works: nobody shall wonder which cluster it was.
    pub(crate) fn print_location(&self, client: &Client) {
        if self.quiet {
            return;
        }
        if self.verbose > 0 || client.backend_name() != BackendKind::default().as_str() {
            let place = client
                .location()
                .map(|place| format!(", {place}"))
                .unwrap_or_default();
            messages::note(&format!(
                "using the backend {}{place}",
                client.backend_name()
            ));
        }
    }
}

fn backend_parser() -> impl TypedValueParser<Value = BackendKind> {
    let words = [BackendKind::Local, BackendKind::Kubernetes].map(BackendKind::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<BackendKind>())
}
