//! `sandbox pool run`: fills a pool.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use anyhow::Result;
use sandbox::{Client, FillerStatus, PoolName, SharedPool, rfc3339};
use serde_json::{Value, json};

use crate::args::sandbox::SandboxOptions;
use crate::args::values::{parse_environment, parse_positive_duration};
use crate::exit::Outcome;
use crate::interrupt::Interrupts;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::{Format, print};

/// The shortest time between two reports, because each creation changes the state several times.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Fill a pool: create sandboxes that wait to be taken
///
/// Take one with `sandbox run --pool NAME` or `sandbox create --pool NAME`, from any machine that reaches the
/// cluster. Of several processes that fill the same pool, one does and the others stand by. The state is
/// reported on stderr, or as JSON on stdout, a line for each change.
///
/// On SIGINT and SIGTERM it stops and exits with 0. What waits then is adopted by the next process that fills
/// the pool, or ends by itself after a minute. If the options are changed, the former sandboxes are deleted.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Name of the pool: lower-case letters, digits and dashes
    name: PoolName,
    /// How many sandboxes wait (default: 1)
    #[arg(long, value_name = "COUNT", conflicts_with = "sizes")]
    size: Option<usize>,
    /// How many wait at least and at most, by demand, such as 2..=20
    #[arg(long, value_name = "MIN..=MAX", value_parser = parse_sizes)]
    sizes: Option<RangeInclusive<usize>>,
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Set an environment variable of every command; NAME alone passes on its value; can be
    /// repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// End a sandbox when it was not used for this time, such as 30m; it waits at most half as long
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    idle_timeout: Option<Duration>,
    /// End a sandbox this time after it was taken, at the earliest (default: SANDBOX_MAX_LIFETIME)
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    max_lifetime: Option<Duration>,
    /// Replace a sandbox that has waited for this time (default: 1h)
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    max_age: Option<Duration>,
    /// How many sandboxes are created at once (default: 8)
    #[arg(long, value_name = "COUNT")]
    concurrency: Option<usize>,
    /// Format of the reports (default: table)
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

const EXAMPLES: &str = "Examples:
  sandbox pool run ci --size 8 --image python:3.12-slim --memory 512Mi
  sandbox pool run ci --sizes 2..=20 --max-age 30m -o json
  sandbox run --pool ci -- python3 -c 'print(6*7)'";

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    let pool = tokio::select! {
        pool = start(&args, client) => pool?,
        _signal = interrupts.next() => return Ok(0),
    };
    let report = Report {
        name: args.name.clone(),
        is_json: args.output == Some(Format::Json),
        is_quiet: quiet,
    };
    tokio::select! {
        reported = report.follow(&pool) => reported?,
        _signal = interrupts.next() => {}
    }
    tokio::select! {
        () = pool.stop() => {}
        signal = interrupts.next() => return Ok(signal.exit_code()),
    }
    report.write(&FillerStatus::default(), true)?;
    Ok(0)
}

async fn start(args: &Args, client: &Client) -> Result<SharedPool> {
    let mut sandboxes = args.sandbox.describe(client)?;
    for (name, value) in parse_environment(&args.env)? {
        sandboxes = sandboxes.env(name, value);
    }
    if let Some(idle) = args.idle_timeout {
        sandboxes = sandboxes.idle_timeout(idle);
    }
    if let Some(max) = args.max_lifetime {
        sandboxes = sandboxes.max_lifetime(max);
    }
    let mut pool = client.shared_pool(args.name.as_str(), sandboxes);
    if let Some(size) = args.size {
        pool = pool.size(size);
    }
    if let Some(sizes) = &args.sizes {
        pool = pool.sizes(sizes.clone());
    }
    if let Some(max_age) = args.max_age {
        pool = pool.max_age(max_age);
    }
    if let Some(concurrency) = args.concurrency {
        pool = pool.concurrency(concurrency);
    }
    Ok(pool.start().await?)
}

/// Parses `MIN..=MAX`.
fn parse_sizes(text: &str) -> Result<RangeInclusive<usize>, String> {
    let bounds = text
        .split_once("..=")
        .and_then(|(min, max)| Some((min.parse::<usize>().ok()?, max.parse::<usize>().ok()?)));
    match bounds {
        Some((min, max)) if min <= max => Ok(min..=max),
        _ => Err("write MIN..=MAX, such as 2..=20".to_owned()),
    }
}

/// Reports the state of the filler.
struct Report {
    name: PoolName,
    is_json: bool,
    is_quiet: bool,
}

impl Report {
    /// Reports each state until the filler has stopped.
    async fn follow(&self, pool: &SharedPool) -> Result<()> {
        let mut changes = pool.changes();
        let mut last: Option<String> = None;
        loop {
            let status = changes.borrow_and_update().clone();
            if status.is_stopped {
                return Ok(());
            }
            let text = self.text(&status)?;
            if last.as_ref() != Some(&text) {
                self.write(&status, false)?;
                last = Some(text);
            }
            let written_at = Instant::now();
            if changes.changed().await.is_err() {
                return Ok(());
            }
            let rest = REPORT_INTERVAL.saturating_sub(written_at.elapsed());
            tokio::time::sleep(rest).await;
        }
    }

    fn write(&self, status: &FillerStatus, has_stopped: bool) -> Result<()> {
        if self.is_json {
            let mut status = self.json(status);
            status["state"] = json!(if has_stopped {
                "stopped"
            } else {
                state(&status)
            });
            print(&Printable::json_line(&status)?)?;
        } else if !self.is_quiet {
            let text = if has_stopped {
                "stopped; what waits can be taken for a minute, or until the pool is filled again"
                    .to_owned()
            } else {
                self.text(status)?
            };
            messages::print_note(&format!("pool {}: {text}", self.name));
        }
        Ok(())
    }

    /// The state on one line.
    fn text(&self, status: &FillerStatus) -> Result<String> {
        if self.is_json {
            return Ok(serde_json::to_string(&self.json(status))?);
        }
        let mut text = if status.is_leading {
            format!(
                "{} of {} waiting, {} being created, {} taken",
                status.waiting, status.target, status.filling, status.claimed
            )
        } else {
            "standing by, until no other process fills the pool".to_owned()
        };
        if let Some(problem) = &status.problem {
            text.push_str(&format!("; degraded: {}", problem.message));
        }
        Ok(text)
    }

    fn json(&self, status: &FillerStatus) -> Value {
        json!({
            "pool": self.name.as_str(),
            "key": status.key.as_ref().map(ToString::to_string),
            "leading": status.is_leading,
            "waiting": status.waiting,
            "filling": status.filling,
            "target": status.target,
            "claimed": status.claimed,
            "problem": status.problem.as_ref().map(|problem| json!({
                "reason": problem.reason,
                "message": problem.message,
                "since": rfc3339(problem.since),
                "failures": problem.failures,
            })),
        })
    }
}

/// The name of a state, from its JSON.
fn state(status: &Value) -> &'static str {
    match (status["leading"].as_bool(), status["problem"].is_null()) {
        (_, false) => "degraded",
        (Some(true), true) => "filling",
        (_, true) => "standby",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_two_numbers_in_order() {
        assert_eq!(parse_sizes("2..=20"), Ok(2..=20));
        assert_eq!(parse_sizes("0..=1"), Ok(0..=1));
        for bad in [
            "", "2", "2..20", "20..=2", "-1..=2", "a..=b", "2..=", "..=2",
        ] {
            assert!(parse_sizes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_state_is_one_line() {
        let report = Report {
            name: "ci".parse().unwrap(),
            is_json: false,
            is_quiet: false,
        };
        let mut status = FillerStatus::default();
        let text = report.text(&status).unwrap();
        assert_eq!(text, "standing by, until no other process fills the pool");
        status.is_leading = true;
        (
            status.waiting,
            status.target,
            status.filling,
            status.claimed,
        ) = (3, 8, 5, 12);
        let text = report.text(&status).unwrap();
        assert_eq!(text, "3 of 8 waiting, 5 being created, 12 taken");
        assert_eq!(state(&report.json(&status)), "filling");
    }
}
