//! `sandbox mcp`: sandboxes as tools of a language model.

mod install;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use clap::Subcommand;
use sandbox::Client;
use sandbox_mcp::{BearerToken, McpConfig, McpServer};

use crate::args::egress::EgressOptions;
use crate::args::global::{Global, open_client};
use crate::args::values::parse_positive_duration;
use crate::exit::Outcome;
use crate::interrupt::{Interrupt, Interrupts};
use crate::ui::messages;

/// Variable with the token of clients over HTTP.
const TOKEN_VARIABLE: &str = "SANDBOX_MCP_TOKEN";

/// Offer sandboxes to a language model, as a server of the Model Context Protocol
///
/// The client starts this command and talks to it over standard input and output. Each session has sandboxes of its own,
/// which are deleted when it ends. The model chooses commands and files; images, sizes, the number of sandboxes and what
/// they reach are chosen here. docs/MCP.md has the guide.
///
/// On SIGTERM and SIGINT it deletes the sandboxes and exits with 0; a second signal ends it at once.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    Install(install::Args),
}

#[derive(clap::Args)]
struct Options {
    /// Listen on HTTP instead, at this address of the loopback interface; needs a token
    #[arg(long, value_name = "ADDRESS")]
    http: Option<SocketAddr>,
    /// Accept clients over HTTP that show the token in this file (default: that of the variable SANDBOX_MCP_TOKEN)
    #[arg(long, value_name = "FILE", requires = "http")]
    token_file: Option<PathBuf>,
    /// Permit this image; the first is the default; can be repeated (Kubernetes)
    #[arg(long = "image", value_name = "IMAGE")]
    images: Vec<String>,
    /// Permit this many sandboxes at once, over all sessions
    #[arg(long, value_name = "COUNT", default_value_t = McpConfig::default().max_sandboxes, value_parser = parse_count)]
    max_sandboxes: usize,
    /// CPU limit of each sandbox, such as 500m or 2
    #[arg(long, visible_alias = "cpus")]
    cpu: Option<String>,
    /// Memory limit of each sandbox, such as 512Mi
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Disk limit of each sandbox, such as 1Gi
    #[arg(long, value_name = "BYTES")]
    disk: Option<String>,
    /// Maximum number of processes and threads of each sandbox
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// End a sandbox when it has not been used for this time, such as 30m or 2h
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_positive_duration)]
    ttl: Duration,
    #[command(flatten)]
    egress: EgressOptions,
    /// Let sandboxes have the network of their backend, instead of nothing or of what rules allow (Kubernetes)
    #[arg(
        long,
        conflicts_with_all = ["preset", "allow", "deny", "is_asking", "is_unverified", "upstreams", "transforms"]
    )]
    egress_backend: bool,
    /// Let the model copy files into and out of this directory, and nothing outside of it
    #[arg(long, value_name = "DIR")]
    share: Option<PathBuf>,
    /// Let the model open ports of sandboxes on this machine's loopback interface
    #[arg(long)]
    preview: bool,
    /// Append a line of JSON for each call to this file
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  sandbox mcp install claude-code
  sandbox mcp --audit calls.jsonl
  sandbox mcp --egress packages --egress-allow api.example.com
  sandbox mcp --egress-upstream openai --egress-secret openai=file:/run/secrets/openai
  sandbox mcp --egress-transform api.example.com,variable=API_KEY
  sandbox --backend k8s mcp --image python:3.12-slim --image node:22-slim --cpu 1 --memory 1Gi
  SANDBOX_MCP_TOKEN=$(openssl rand -hex 32) sandbox mcp --http 127.0.0.1:8931";

pub(crate) async fn run(args: Args, global: &Global, interrupts: &mut Interrupts) -> Outcome {
    if let Some(Command::Install(args)) = args.command {
        return interrupts
            .run_until_signal(install::run(args, global.quiet))
            .await;
    }
    let mut settings = global.read_settings()?;
    let options = args.options;
    if options.egress_backend {
        // It is stronger than SANDBOX_EGRESS.
        settings.egress = None;
    }
    // Before anything is opened: a server without a token never listens.
    let http = options
        .http
        .map(|address| anyhow::Ok((address, read_token(options.token_file.as_deref())?)))
        .transpose()?;
    let starting = async {
        let client = open_client(&settings).await.with_context(|| {
            format!(
                "cannot use the backend {} (chosen with SANDBOX_BACKEND or --backend)",
                settings.backend
            )
        })?;
        global.print_location(&client);
        let config = options.into_config(&client)?;
        anyhow::Ok(McpServer::new(client, config)?)
    };
    let server = tokio::select! {
        server = starting => server?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let stopped = async {
        // A sender that was dropped stops it, too.
        let _stop = stopped.await;
    };
    match http {
        Some((address, token)) => {
            let listener = server.listen_http(address, token).await?;
            if !global.quiet {
                messages::print_note(&format!("listening on {}", listener.url()));
            }
            serve_until_signal(listener.serve(stopped), stop, interrupts).await
        }
        None => {
            let serving = server.serve_stdio(tokio::io::stdin(), tokio::io::stdout(), stopped);
            serve_until_signal(serving, stop, interrupts).await
        }
    }
}

impl Options {
    /// # Errors
    ///
    /// If an egress rule, an upstream, a transform or a secret cannot be read.
    fn into_config(self, client: &Client) -> anyhow::Result<McpConfig> {
        self.refuse_unserved()?;
        let mut config = McpConfig::default();
        config.egress = self.egress.rules(client.sandbox().egress_rules())?;
        (config.upstreams, config.transforms) = self.egress.read_credentials()?;
        config.backend_network = self.egress_backend;
        config.unverified_egress = self.egress.is_unverified();
        config.images = self.images;
        config.max_sandboxes = self.max_sandboxes;
        config.cpu = self.cpu;
        config.memory = self.memory;
        config.disk = self.disk;
        config.pids = self.pids;
        config.ttl = self.ttl;
        config.share = self.share;
        config.preview = self.preview;
        config.audit = self.audit;
        Ok(config)
    }

    /// # Errors
    ///
    /// If names are to be asked about.
    fn refuse_unserved(&self) -> anyhow::Result<()> {
        if self.egress.is_asking() {
            bail!(
                "--egress-ask cannot be used here, because a client is at the other end and no terminal; use rules"
            );
        }
        Ok(())
    }
}

/// Reads the token of clients over HTTP. Without one no client may connect.
fn read_token(file: Option<&std::path::Path>) -> anyhow::Result<BearerToken> {
    if let Some(file) = file {
        return Ok(BearerToken::from_file(file)?);
    }
    let token = std::env::var(TOKEN_VARIABLE).map_err(|_| {
        anyhow!(
            "there is no token, and without one every program on this machine could run commands; set {TOKEN_VARIABLE}, \
             or name a file with --token-file"
        )
    })?;
    BearerToken::new(&token).with_context(|| format!("cannot use {TOKEN_VARIABLE}"))
}

/// Serves until the first signal, then until everything is deleted or the second.
async fn serve_until_signal(
    serving: impl Future<Output = ()>,
    stop: tokio::sync::oneshot::Sender<()>,
    interrupts: &mut Interrupts,
) -> Outcome {
    tokio::pin!(serving);
    let first = tokio::select! {
        () = &mut serving => return Ok(0),
        signal = interrupts.next() => signal,
    };
    drop(stop);
    tracing::info!(signal = ?first, "stopping; deleting the sandboxes");
    tokio::select! {
        () = &mut serving => Ok(0),
        signal = next_stop(interrupts) => Ok(signal.exit_code()),
    }
}

/// The next signal that ends the command at once. That of a terminal that is closed comes with others.
async fn next_stop(interrupts: &mut Interrupts) -> Interrupt {
    loop {
        match interrupts.next().await {
            Interrupt::Hup => {}
            signal @ (Interrupt::Int | Interrupt::Term | Interrupt::Quit) => return signal,
        }
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|count| (1..=10_000).contains(count))
        .ok_or_else(|| "use a number from 1 to 10000".to_owned())
}
