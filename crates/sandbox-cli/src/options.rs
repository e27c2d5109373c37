//! Options that several subcommands share.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::ArgAction;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use sandbox::{Client, SandboxBuilder, SandboxId, Settings};
use sandbox_config::{BackendKind, DURATION_FORM, parse_duration};
use tracing_subscriber::EnvFilter;

use crate::env_file;
use crate::failure;
use crate::pod_options::PodArgs;
use crate::terminal;

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

/// What a new sandbox shall be.
#[derive(clap::Args)]
pub(crate) struct SandboxOptions {
    /// Container image, such as python:3.12-slim (Kubernetes)
    #[arg(long)]
    image: Option<String>,
    /// Processor time, such as 500m or 2
    #[arg(long, visible_alias = "cpus")]
    cpu: Option<String>,
    /// Memory, such as 512Mi
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Disk, such as 1Gi
    #[arg(long, value_name = "BYTES")]
    disk: Option<String>,
    /// Processes and threads
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// End it after this time, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// A label to find it by; can be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    pod: PodArgs,
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
            failure::note(&remark);
        }
        if self.verbose > 0 && !settings.unknown.is_empty() {
            failure::note(&format!(
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
    pub(crate) fn tell_place(&self, client: &Client) {
        if self.quiet {
            return;
        }
        if self.verbose > 0 || client.backend_name() != BackendKind::default().as_str() {
            let place = client
                .location()
                .map(|place| format!(", {place}"))
                .unwrap_or_default();
            failure::note(&format!(
                "using the backend {}{place}",
                client.backend_name()
            ));
        }
    }
}

impl SandboxOptions {
    pub(crate) fn names_image(&self) -> bool {
        self.image.is_some()
    }

    /// Describes the sandbox, with an id known beforehand: whatever interrupts the creation can
    /// delete what came of it.
    pub(crate) fn builder(&self, client: &Client, id: &SandboxId) -> Result<SandboxBuilder> {
        let mut builder = client.sandbox().id(id);
        if let Some(image) = &self.image {
            builder = builder.image(image);
        }
        if let Some(cpu) = &self.cpu {
            builder = builder.cpu(cpu);
        }
        if let Some(memory) = &self.memory {
            builder = builder.memory(memory);
        }
        if let Some(disk) = &self.disk {
            builder = builder.disk(disk);
        }
        if let Some(pids) = self.pids {
            builder = builder.pids(pids);
        }
        if let Some(ttl) = self.ttl {
            builder = builder.ttl(ttl);
        }
        for (key, value) in &self.labels {
            builder = builder.label(key, value);
        }
        self.pod.apply(builder)
    }
}

/// An id as somebody typed it. One that no sandbox can have is one that does not exist.
pub(crate) fn sandbox_id(text: &OsStr) -> Result<SandboxId> {
    parsed(text).map_err(|why| anyhow!("there is no sandbox {:?}: {why}", text.to_string_lossy()))
}

/// An id that somebody chose for a new sandbox.
pub(crate) fn new_id(text: &OsStr) -> Result<SandboxId> {
    parsed(text).map_err(|why| anyhow!("--id {:?} cannot be given: {why}", text.to_string_lossy()))
}

/// An id, or why it is none.
fn parsed(text: &OsStr) -> Result<SandboxId, String> {
    match text.to_str().map(str::parse::<SandboxId>) {
        Some(Ok(id)) => Ok(id),
        Some(Err(sandbox::Error::Invalid { reason, .. })) => Err(reason),
        _ => Err("an id is plain text".to_owned()),
    }
}

/// `NAME=VALUE`, or `NAME` alone for the value that it has here.
pub(crate) fn environment(variables: &[OsString]) -> Result<Vec<(String, String)>> {
    let pair = |variable: &OsString| {
        let text = variable.to_str().with_context(|| {
            format!(
                "-e {:?} is not UTF-8 text, as SSH wants variables to be",
                variable.to_string_lossy()
            )
        })?;
        match text.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => match std::env::var(text) {
                Ok(value) => Ok((text.to_owned(), value)),
                Err(std::env::VarError::NotPresent) => Err(anyhow!(
                    "-e {text}: there is no such variable here; write {text}=VALUE"
                )),
                Err(error) => Err(anyhow!("-e {text}: {error}")),
            },
        }
    };
    variables.iter().map(pair).collect()
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).filter(|time| !time.is_zero());
    time.ok_or_else(|| format!("use {DURATION_FORM}, above zero"))
}

pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn backend_parser() -> impl TypedValueParser<Value = BackendKind> {
    let words = [BackendKind::Local, BackendKind::Kubernetes].map(BackendKind::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<BackendKind>())
}
