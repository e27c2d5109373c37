//! `sandbox egress`: serves the way out of a sandbox.

use std::ffi::OsString;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use futures_util::StreamExt;
use sandbox::{Client, Egress, EgressEvent, EgressOutcome, ServeEgress, rfc3339};
use serde_json::json;

use crate::args::egress::EgressOptions;
use crate::args::id;
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::stdio::Stdout;

/// Serve what a sandbox may reach, until interrupted, and print each decision
///
/// A sandbox that was made with `create` is offline unless this runs: without it, nothing carries its connections.
/// One program at a time can serve a sandbox.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    egress: EgressOptions,
    /// Print each decision as a line of JSON
    #[arg(long)]
    json: bool,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
}

const EXAMPLES: &str = "Examples:
  sandbox egress --egress packages ID
  sandbox egress --egress-allow api.example.com --egress-allow '*.example.org:8443' ID
  sandbox egress --egress internet --egress-deny '*.example.net' --json ID
  sandbox egress --egress-upstream openai --egress-secret openai=file:key ID";

pub(crate) async fn run(args: Args, client: &Client, quiet: bool) -> Outcome {
    let default = client.sandbox();
    let rules = match args.egress.rules(default.egress_rules())? {
        Some(rules) => rules,
        None => match default.egress_rules() {
            Some(rules) => rules.clone(),
            None if !args.egress.upstreams().is_empty() => Egress::none(),
            None => bail!("no rules; use --egress PRESET, --egress-allow HOST or SANDBOX_EGRESS"),
        },
    };
    let upstreams = args.egress.upstreams().read()?;
    let names: Vec<String> = upstreams.iter().map(|one| one.name().to_owned()).collect();
    let sandbox = id::connect(client, &args.id).await?;
    let has_failed = Arc::new(AtomicBool::new(false));
    let serving = {
        let has_failed = Arc::clone(&has_failed);
        let print = if args.json { write_json } else { write_line };
        sandbox.serve_egress(rules.clone()).on_event(move |event| {
            // The receiver of the decisions is gone, but the sandbox is still served.
            if !has_failed.load(Ordering::Relaxed) && print(event).is_err() {
                has_failed.store(true, Ordering::Relaxed);
            }
        })
    };
    let serving = upstreams.into_iter().fold(serving, ServeEgress::upstream);
    let serving = if args.egress.is_unverified() {
        serving.unverified()
    } else {
        serving
    };
    serving.await?;
    if !quiet {
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

/// Writes a decision for people. Hosts come from the sandbox.
fn write_line(event: &EgressEvent) -> Result<()> {
    let mut text = format!(
        "{} {} {}:{}",
        rfc3339(event.time),
        event.outcome.as_str(),
        event.host,
        event.port
    );
    if let Some(address) = event.address {
        text.push_str(&format!(" {address}"));
    }
    if let Some(reason) = event.reason.as_ref().or(event.rule.as_ref()) {
        text.push_str(&format!(" ({reason})"));
    }
    match event.outcome {
        EgressOutcome::Closed | EgressOutcome::Revoked => {
            text.push_str(&format!(" {} bytes out, {} in", event.sent, event.received));
        }
        _ => {}
    }
    if event.lost > 0 {
        text.push_str(&format!(
            " [{} decisions before were not printed]",
            event.lost
        ));
    }
    write(&Printable::line(&text))
}

fn write_json(event: &EgressEvent) -> Result<()> {
    let line = json!({
        "time": rfc3339(event.time),
        "outcome": event.outcome.as_str(),
        "host": event.host,
        "port": event.port,
        "address": event.address,
        "rule": event.rule,
        "reason": event.reason,
        "sent": event.sent,
        "received": event.received,
        "lost": event.lost,
    });
    write(&Printable::json_line(&line)?)
}

fn write(line: &Printable) -> Result<()> {
    writeln!(Stdout, "{}", line.as_str())?;
    Ok(Stdout.flush()?)
}
