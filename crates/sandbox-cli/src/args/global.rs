//! Options of every subcommand.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ArgAction;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sandbox::{Client, Escaped, Settings};
use sandbox_config::BackendKind;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{self, Writer};

use crate::args::env_file;
#[cfg(feature = "k8s")]
use crate::servers;
use crate::ui::stdio::Stderr;
use crate::ui::{messages, terminal};

/// Options of every subcommand.
#[derive(clap::Args)]
pub(crate) struct Global {
    /// Read settings from this file; environment variables take precedence (see .env.example)
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        help_heading = "Global options"
    )]
    env_file: Option<PathBuf>,
    /// Backend to use (overrides SANDBOX_BACKEND)
    #[arg(long, global = true, value_name = "NAME", value_parser = backend_parser(), help_heading = "Global options")]
    backend: Option<BackendKind>,
    /// Log to stderr; repeat for more detail
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
    /// Do not print notes, progress or warnings
    // Some subcommands have a -q of their own. It sets this option, too.
    #[arg(short, long, global = true, help_heading = "Global options")]
    pub(crate) quiet: bool,
}

/// The format of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object a line
    Json,
}

impl Global {
    /// Sends the log to stderr: warnings of this SDK by default, none with `--quiet`, more with
    /// `--verbose`, which counts if both are given.
    pub(crate) fn start_log(&self) {
        let filter = match self.verbose {
            0 if self.quiet => "off",
            0 => "off,sandbox=warn",
            1 => "warn,sandbox=info",
            2 => "info,sandbox=debug",
            _ => "trace",
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(|| Stderr)
            .with_ansi(terminal::has_colours(&std::io::stderr()))
            .with_target(self.verbose > 1)
            // What a field has may come from a sandbox.
            .fmt_fields(format::debug_fn(write_field).delimited(" "))
            .without_time()
            .init();
    }

    /// Sends the log of a server to stderr: with times, and more of it than other subcommands need.
    pub(crate) fn start_server_log(&self, log_format: LogFormat) {
        let filter = match self.verbose {
            0 if self.quiet => "warn",
            0 => "warn,sandbox=info",
            1 => "info,sandbox=debug",
            _ => "trace",
        };
        let log = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(|| Stderr);
        match log_format {
            // What a field has may come from a sandbox; JSON escapes it by itself.
            LogFormat::Json => log.json().flatten_event(true).init(),
            LogFormat::Text => log
                .with_ansi(terminal::has_colours(&std::io::stderr()))
                .with_target(self.verbose > 0)
                .fmt_fields(format::debug_fn(write_field).delimited(" "))
                .init(),
        }
    }

    /// The file with settings, if one is named.
    pub(crate) fn env_file(&self) -> Option<&Path> {
        self.env_file.as_deref()
    }

    /// Reads the settings. Options take precedence.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a setting is invalid.
    pub(crate) fn read_settings(&self) -> Result<Settings> {
        let mut settings = match &self.env_file {
            Some(file) => Settings::from_dotenv(file)?,
            None => Settings::from_env()?,
        };
        if let Some(backend) = self.backend {
            settings.backend = backend;
        }
        Ok(settings)
    }

    /// Creates the client, and prints notes about settings that have no effect.
    ///
    /// # Errors
    ///
    /// If the settings are invalid, or the backend cannot be used.
    pub(crate) async fn create_client(&self) -> Result<Client> {
        let settings = self.read_settings()?;
        if let Some(warning) = self
            .env_file
            .as_deref()
            .filter(|_| !self.quiet)
            .and_then(env_file::find_warning)
        {
            messages::print_note(&warning);
        }
        if self.verbose > 0 && !settings.unknown.is_empty() {
            messages::print_note(&format!(
                "unknown SANDBOX_ variables (ignored): {}",
                settings.unknown.join(", ")
            ));
        }
        let client = open_client(&settings).await.with_context(|| {
            format!(
                "cannot use the backend {} (chosen with SANDBOX_BACKEND or --backend)",
                settings.backend
            )
        })?;
        Ok(client)
    }

    /// Prints the backend and its location unless it is the default one, so that the user sees
    /// which cluster is in use.
    pub(crate) fn print_location(&self, client: &Client) {
        if self.quiet {
            return;
        }
        if self.verbose > 0 || client.backend_name() != BackendKind::default().as_str() {
            let location = client
                .location()
                .map(|location| format!(", {location}"))
                .unwrap_or_default();
            messages::print_note(&format!(
                "using the backend {}{location}",
                client.backend_name()
            ));
        }
    }
}

/// Creates the client, with the SSH servers in this command.
#[cfg(feature = "k8s")]
pub(crate) async fn open_client(settings: &Settings) -> sandbox::Result<Client> {
    Client::from_settings_with_servers(settings, servers::embedded()).await
}

#[cfg(not(feature = "k8s"))]
pub(crate) async fn open_client(settings: &Settings) -> sandbox::Result<Client> {
    Client::from_settings(settings).await
}

/// Writes a field of a log line, with the name unless it is the message.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let value = format!("{value:?}");
    let value = Escaped::new(&value);
    match field.name() {
        "message" => write!(writer, "{value}"),
        name => write!(writer, "{name}={value}"),
    }
}

fn backend_parser() -> impl TypedValueParser<Value = BackendKind> {
    let names = [BackendKind::Local, BackendKind::Kubernetes].map(BackendKind::as_str);
    PossibleValuesParser::new(names).try_map(|name| name.parse::<BackendKind>())
}
