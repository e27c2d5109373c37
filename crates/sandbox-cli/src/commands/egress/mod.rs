//! `sandbox egress`: serves the way out of a sandbox.

mod log;

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use sandbox::{Client, Egress, EgressEvent, ServeEgress};

use crate::args::egress::EgressOptions;
use crate::args::id;
use crate::egress_log::{Decision, EgressLog};
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::questions::{TerminalQuestions, hold_terminal};
use crate::ui::stdio::Stdout;

/// Serve what a sandbox may reach, until interrupted, and print each decision
///
/// A sandbox that was made with `create` is offline unless this runs: without it, nothing carries its connections.
/// One program at a time can serve a sandbox. Decisions are recorded, too: see `sandbox egress log --help`.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(clap::Subcommand)]
enum Command {
    Log(log::Args),
}

#[derive(clap::Args)]
struct Options {
    #[command(flatten)]
    egress: EgressOptions,
    /// Print each decision as a line of JSON
    #[arg(long)]
    json: bool,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID", required = true)]
    id: Option<OsString>,
}

const EXAMPLES: &str = "Examples:
  sandbox egress --egress packages ID
  sandbox egress --egress-allow api.example.com --egress-allow '*.example.org:8443' ID
  sandbox egress --egress internet --egress-deny '*.example.net' --json ID
  sandbox egress --egress-upstream openai --egress-secret openai=file:key ID
  sandbox egress --egress-transform api.example.com,variable=API_KEY ID
  sandbox egress --egress packages --egress-ask ID
  sandbox egress log -f ID";

pub(crate) async fn run(args: Args, client: &Client, quiet: bool) -> Outcome {
    if let Some(Command::Log(args)) = args.command {
        return log::run(args, client).await;
    }
    let Options { egress, json, id } = args.options;
    let id = id.context("no sandbox is named")?;
    let default = client.sandbox();
    let rules = match egress.rules(default.egress_rules())? {
        Some(rules) => rules,
        None => match default.egress_rules() {
            Some(rules) => rules.clone(),
            None if egress.has_credentials() => Egress::none(),
            None => bail!("no rules; use --egress PRESET, --egress-allow HOST or SANDBOX_EGRESS"),
        },
    };
    let questions = egress
        .is_asking()
        .then(TerminalQuestions::new)
        .transpose()?;
    let (upstreams, transforms) = egress.read_credentials()?;
    let names: Vec<String> = upstreams.iter().map(|one| one.name().to_owned()).collect();
    let sandbox = id::connect(client, &id).await?;
    let log = EgressLog::for_sandbox(sandbox.id());
    let has_failed = AtomicBool::new(false);
    let serving = sandbox.serve_egress(rules).on_event(move |event| {
        log.append(&Decision::new(event));
        // The receiver of the decisions is gone, but the sandbox is still served.
        if !has_failed.load(Ordering::Relaxed) && write(event, json).is_err() {
            has_failed.store(true, Ordering::Relaxed);
        }
    });
    let serving = upstreams.into_iter().fold(serving, ServeEgress::upstream);
    let mut serving = transforms
        .into_iter()
        .fold(serving, ServeEgress::host_transform);
    if let Some(questions) = questions {
        serving = serving.ask(Arc::new(questions));
    }
    if egress.is_unverified() {
        serving = serving.unverified();
    }
    serving.await?;
    if let Some(rules) = sandbox.egress().filter(|_| !quiet) {
        let with_upstreams = match &names[..] {
            [] => String::new(),
            names => format!(" and the upstreams {}", names.join(", ")),
        };
        messages::print_note(&format!(
            "sandbox {} may reach: {rules}{with_upstreams}; it is offline once this command ends",
            sandbox.id()
        ));
    }
    let mut events = sandbox.events().await?;
    while let Some(event) = events.next().await {
        let event = event?;
        if event.kind.is_final() {
            bail!("sandbox {} has ended: {}", sandbox.id(), event.message);
        }
    }
    bail!("sandbox {} has ended", sandbox.id())
}

/// Writes a decision, when no question is open.
fn write(event: &EgressEvent, is_json: bool) -> Result<()> {
    let decision = Decision::new(event);
    let line = if is_json {
        decision.format_json()?
    } else {
        decision.format()
    };
    // A question may take a minute, in which other tasks go on.
    tokio::task::block_in_place(|| {
        let _held = hold_terminal();
        writeln!(Stdout, "{}", line.as_str())?;
        Ok(Stdout.flush()?)
    })
}
