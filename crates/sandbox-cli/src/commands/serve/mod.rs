//! `sandbox serve`: the gateway that E2B's SDKs talk to.

mod keys;

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use sandbox::Settings;
use sandbox_gateway::{ConfigOverrides, Gateway, GatewayConfig};

use crate::args::global::{Global, LogFormat, open_client};
use crate::exit::Outcome;
use crate::interrupt::{Interrupt, Interrupts};
use crate::ui::messages;

/// Serve sandboxes to E2B's SDKs, and their ports to browsers
///
/// Programs that use the Python or JavaScript SDK of E2B need three variables: E2B_API_URL and E2B_SANDBOX_URL with the
/// address of this gateway, and E2B_API_KEY with a key from `sandbox serve keys add`. Any number of gateways can serve the
/// same cluster, with the same keys and the same signing key. docs/GATEWAY.md has the guide.
///
/// On SIGTERM and SIGINT it accepts nothing more, waits for requests that are under way, and exits with 0; a second signal
/// ends it at once. Sandboxes stay.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Create keys, with which programs use the gateway
    #[command(subcommand)]
    Keys(keys::Command),
}

#[derive(clap::Args)]
struct Options {
    /// Read templates and other settings from this file in YAML (overrides SANDBOX_GATEWAY_CONFIG)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address (overrides SANDBOX_GATEWAY_LISTEN; default: 127.0.0.1:3000)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Accept the keys in this file (overrides SANDBOX_GATEWAY_KEYS)
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Sign tokens with this file, 32 random bytes or more (overrides SANDBOX_GATEWAY_SIGNING_KEY; default: signing.key
    /// beside the file of keys, created if it is missing)
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
    /// Serve ports of sandboxes at {port}-{id}.DOMAIN (overrides SANDBOX_GATEWAY_DOMAIN)
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Speak TLS with this certificate and those of its issuers, in PEM (overrides SANDBOX_GATEWAY_TLS_CERT)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate, in PEM (overrides SANDBOX_GATEWAY_TLS_KEY)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve Prometheus metrics at this address, without a key (overrides SANDBOX_GATEWAY_METRICS_LISTEN)
    #[arg(long, value_name = "ADDRESS")]
    metrics_listen: Option<SocketAddr>,
    /// Leave sandboxes the network of their backend, that of the Pods on a cluster, unless their template has `egress`
    /// or SANDBOX_EGRESS is set (default: they reach nothing)
    #[arg(long)]
    egress_backend: bool,
    /// Do not serve the page for people
    #[arg(long)]
    no_page: bool,
    /// Format of the log on stderr (overrides SANDBOX_GATEWAY_LOG_FORMAT; default: text)
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

const EXAMPLES: &str = "Examples:
  sandbox serve keys add ci --keys keys
  sandbox serve --keys keys
  sandbox --backend k8s serve --keys keys --config gateway.yaml --listen 0.0.0.0:3000 --domain sandboxes.example.com";

impl Args {
    /// The format that was chosen by an option or a variable. One that is invalid is reported later, with other mistakes.
    pub(crate) fn log_format(&self) -> LogFormat {
        let from_variable = || match std::env::var("SANDBOX_GATEWAY_LOG_FORMAT").as_deref() {
            Ok("json") => LogFormat::Json,
            Ok(_) | Err(_) => LogFormat::Text,
        };
        self.options.log_format.unwrap_or_else(from_variable)
    }

    /// Whether this runs the server, which logs more than other subcommands.
    pub(crate) fn is_server(&self) -> bool {
        self.command.is_none()
    }
}

pub(crate) async fn run(args: Args, global: &Global, interrupts: &mut Interrupts) -> Outcome {
    let settings = global.read_settings()?;
    if let Some(Command::Keys(command)) = args.command {
        return keys::run(command, &settings);
    }
    let config = read_config(args.options, &settings)?;
    let starting = async {
        let client = open_client(&settings).await.with_context(|| {
            format!(
                "cannot use the backend {} (chosen with SANDBOX_BACKEND or --backend)",
                settings.backend
            )
        })?;
        global.print_location(&client);
        anyhow::Ok(Gateway::bind(config, client).await?)
    };
    let gateway = tokio::select! {
        gateway = starting => gateway?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    if !global.quiet {
        messages::print_note(&format!("listening on {}", gateway.url()));
    }
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = gateway.serve(async {
        // A sender that was dropped stops it, too.
        let _stop = stopped.await;
    });
    tokio::pin!(serving);
    let first = tokio::select! {
        () = &mut serving => return Ok(0),
        signal = next_stop(interrupts) => signal,
    };
    drop(stop);
    tracing::info!(signal = ?first, "stopping; waiting for requests that are under way");
    tokio::select! {
        () = &mut serving => Ok(0),
        signal = next_stop(interrupts) => Ok(signal.exit_code()),
    }
}

/// The next signal that stops the server. A terminal that is closed does not.
async fn next_stop(interrupts: &mut Interrupts) -> Interrupt {
    loop {
        match interrupts.next().await {
            Interrupt::Hup => {}
            signal @ (Interrupt::Int | Interrupt::Term | Interrupt::Quit) => return signal,
        }
    }
}

fn read_config(options: Options, settings: &Settings) -> anyhow::Result<GatewayConfig> {
    let variables = &settings.gateway;
    let mut overrides = ConfigOverrides::default();
    overrides.listen = options.listen.or(variables.listen);
    overrides.metrics_listen = options.metrics_listen.or(variables.metrics_listen);
    overrides.keys_file = options.keys.or_else(|| variables.keys.clone());
    overrides.signing_key_file = options
        .signing_key
        .or_else(|| variables.signing_key.clone());
    overrides.domain = options.domain.or_else(|| variables.domain.clone());
    overrides.tls_certificate = options.tls_cert.or_else(|| variables.tls_cert.clone());
    overrides.tls_key = options.tls_key.or_else(|| variables.tls_key.clone());
    overrides.page = options.no_page.then_some(false);
    overrides.backend_network = options.egress_backend;
    let file = options.config.or_else(|| variables.config.clone());
    Ok(GatewayConfig::load(file.as_deref(), overrides)?)
}
