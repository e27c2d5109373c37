//! `sandbox doctor`: checks whether sandboxes can be created, and suggests fixes.

mod gateway;

use std::path::PathBuf;
use std::time::Instant;

use sandbox::{Check, Egress, Sandbox, SandboxInfo, Settings, StoppedBy, Verdict};

use crate::args::global::{Global, open_client};
use crate::exit::Outcome;
use crate::ui::messages::{self, error_text};
use crate::ui::printable::Printable;
use crate::ui::table::{Format, print};
use crate::ui::terminal;

/// At least one check failed. It was printed.
const EXIT_CHECK_FAILED: u8 = 1;

/// Check the settings, this machine or the cluster, and the SSH client
///
/// On this machine, a sandbox is created and deleted to check its isolation. On a cluster, this is
/// done only with --try; otherwise the version, each required permission and a dry run of a Pod are
/// checked. Whether egress rules would be enforced is tried from inside the sandbox, for at most half a
/// minute. The exit code is 1 if a check failed.
///
/// With --gateway, a gateway (sandbox serve) is checked instead, from where this runs, as E2B's SDKs reach it. The key is
/// that of E2B_API_KEY, unless --key-file names a file with one.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Create a sandbox and run a command in it, also on a cluster and at a gateway
    #[arg(long = "try")]
    create_sandbox: bool,
    /// Container image to check (Kubernetes; overrides SANDBOX_IMAGE)
    #[arg(long)]
    image: Option<String>,
    /// Check the gateway at this address instead, such as https://sbx.example.com
    #[arg(long, value_name = "URL", conflicts_with = "image")]
    gateway: Option<String>,
    /// Read the key for the gateway from this file (overrides E2B_API_KEY)
    #[arg(long, value_name = "FILE", requires = "gateway")]
    key_file: Option<PathBuf>,
    /// Template to create a sandbox from at the gateway
    #[arg(
        long,
        value_name = "NAME",
        requires = "gateway",
        requires = "create_sandbox",
        default_value = "base"
    )]
    template: String,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

const EXAMPLES: &str = "Examples:
  sandbox doctor
  sandbox --backend k8s doctor --try --image python:3.12-slim
  E2B_API_KEY=e2b_… sandbox doctor --try --gateway https://sbx.example.com";

/// Prints the results of all checks. A failed check is a result and not an error.
pub(crate) async fn run(args: Args, global: &Global) -> Outcome {
    let checks = match &args.gateway {
        Some(url) => gateway::run_checks(url, &args).await,
        None => run_checks(&args, global).await,
    };
    let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
    match args.output {
        Format::Json => print(&Printable::json(&checks)?)?,
        Format::Table => {
            let colours = terminal::has_colours(&std::io::stdout());
            messages::print_stdout(&format_report(&checks, colours))?
        }
    };
    Ok(if failed { EXIT_CHECK_FAILED } else { 0 })
}

async fn run_checks(args: &Args, global: &Global) -> Vec<Check> {
    let settings = match global.read_settings() {
        Ok(settings) => settings,
        Err(error) => {
            let remedy = "correct or unset them; .env.example lists the values that each accepts";
            return vec![Check::failed("settings", error_text(&error)).with_remedy(remedy)];
        }
    };
    let mut checks = vec![check_settings(&settings)];
    let client = match open_client(&settings).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "correct the setting that it names, or use --backend local";
            checks.push(Check::failed("backend", error_text(&error.into())).with_remedy(remedy));
            return checks;
        }
    };
    let location = client.location().unwrap_or("this machine");
    checks.push(Check::passed(
        "backend",
        format!("{}, {location}", settings.backend),
    ));
    let mut builder = client.sandbox();
    if let Some(image) = &args.image {
        builder = builder.image(image);
    }
    match builder.clone().preflight().await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::failed("sandbox", error_text(&error.into()))),
    }
    let all_passed = checks.iter().all(|check| check.verdict != Verdict::Failed);
    let is_cluster = client.location().is_some();
    if is_cluster && !args.create_sandbox {
        checks.push(Check::skipped("a sandbox", "use --try to create one"));
    } else if all_passed {
        checks.extend(try_sandbox(builder).await);
    } else {
        checks.push(Check::skipped("a sandbox", "fix the failures above first"));
    }
    checks.push(check_ssh_client().await);
    checks
}

fn check_settings(settings: &Settings) -> Check {
    const NAME: &str = "settings";
    match settings.unknown.as_slice() {
        [] => Check::passed(NAME, "all are valid"),
        unknown => Check::warning(
            NAME,
            format!(
                "unknown SANDBOX_ variables (ignored): {}",
                unknown.join(", ")
            ),
        )
        .with_remedy("see .env.example for all settings"),
    }
}

/// Creates a sandbox, runs a command in it and deletes it.
async fn try_sandbox(builder: sandbox::SandboxBuilder) -> Vec<Check> {
    const NAME: &str = "a sandbox";
    let started_at = Instant::now();
    let sandbox = match builder.create().await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = "`sandbox -vv run -- true` logs details; docs/TROUBLESHOOTING.md lists causes and fixes";
            return vec![Check::failed(NAME, error_text(&error.into())).with_remedy(remedy)];
        }
    };
    let created = started_at.elapsed();
    let ran = sandbox.shell("exit 0").output().await;
    let info = sandbox
        .refresh()
        .await
        .unwrap_or_else(|_| sandbox.info().clone());
    let egress = check_egress(&sandbox).await;
    let pause = check_pause(&sandbox).await;
    let deleted = sandbox.delete().await;
    let mut checks = match ran {
        Ok(output) if output.status.success() => {
            vec![Check::passed(
                NAME,
                format!("created in {:.2} s; a command ran", created.as_secs_f64()),
            )]
        }
        Ok(output) => vec![Check::failed(
            NAME,
            format!("a command failed: {}", output.status),
        )],
        Err(error) => vec![Check::failed(NAME, error_text(&error.into()))],
    };
    checks.push(check_isolation(&info));
    checks.push(egress);
    checks.push(pause);
    checks.push(match deleted {
        Ok(()) => Check::passed("its removal", "nothing is left"),
        Err(error) => Check::failed("its removal", error_text(&error.into())),
    });
    checks
}

fn check_isolation(info: &SandboxInfo) -> Check {
    const NAME: &str = "isolation";
    let limits: Vec<String> = info
        .limits
        .iter()
        .map(|limit| format!("{} by {}", limit.resource, limit.enforced_by))
        .collect();
    let limits = if limits.is_empty() {
        "no limits".to_owned()
    } else {
        format!("limits: {}", limits.join(", "))
    };
    let mechanisms = match info.isolation.applied.as_slice() {
        [] => String::new(),
        applied => format!(": {}", applied.join(", ")),
    };
    let detail = format!("{}{mechanisms}; {limits}", info.isolation.kind);
    match info.isolation.kind.as_str() {
        "none" => Check::warning(NAME, "sandboxes are not isolated from this machine").with_remedy(
            "set SANDBOX_LOCAL_ISOLATION=auto, on Linux with user namespaces or Landlock",
        ),
        "landlock" => Check::warning(NAME, detail).with_remedy(
            "for stronger isolation, permit user namespaces: sysctl -w user.max_user_namespaces=10000 and, on Ubuntu, \
             kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        _ => Check::passed(NAME, detail),
    }
}

/// Checks whether something keeps the sandbox from the network if it has egress rules: rules that allow nothing are served.
async fn check_egress(sandbox: &Sandbox) -> Check {
    const NAME: &str = "egress rules";
    match sandbox.serve_egress(Egress::none()).await {
        Ok(()) => {
            sandbox.stop_egress();
            Check::passed(NAME, "enforced: it reaches nothing but what they allow")
        }
        Err(error) => Check::warning(NAME, error_text(&error.into()))
            .with_remedy("needed only for --egress and SANDBOX_EGRESS; docs/EGRESS.md describes what enforces them"),
    }
}

/// Checks whether the sandbox can be paused, and what stops its processes then.
async fn check_pause(sandbox: &Sandbox) -> Check {
    const NAME: &str = "pause";
    let paused = async {
        sandbox.pause().await?;
        let state = sandbox.pause_state().await?;
        sandbox.resume(None).await?;
        Ok::<_, sandbox::Error>(state.stopped_by)
    };
    match paused.await {
        Ok(Some(StoppedBy::Freezer)) => Check::passed(NAME, "by the freezer of its control group"),
        Ok(Some(StoppedBy::Signals)) => Check::passed(
            NAME,
            "by signals; some programs notice the SIGCONT that continues them",
        ),
        Ok(_) => Check::passed(NAME, "it works"),
        Err(error) => Check::warning(NAME, error_text(&error.into()))
            .with_remedy("needed only for `sandbox pause` and --on-expiry pause"),
    }
}

async fn check_ssh_client() -> Check {
    const NAME: &str = "OpenSSH's client";
    let result =
        tokio::task::spawn_blocking(|| std::process::Command::new("ssh").arg("-V").output());
    match result.await {
        Ok(Ok(output)) if !output.status.success() => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            Check::warning(NAME, format!("`ssh -V` failed: {}", stderr.trim()))
                .with_remedy("run as a user that has an entry in /etc/passwd")
        }
        Ok(Ok(output)) => Check::passed(
            NAME,
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ),
        _ => Check::warning(
            NAME,
            "not installed; needed only for `sandbox ssh`, scp, rsync and git",
        )
        .with_remedy("install openssh-client"),
    }
}

/// Aligns the further lines of a check with its first.
const INDENT: &str = "      ";

/// Formats all checks. If consecutive checks have the same remedy, it is printed once, below the
/// last of them.
fn format_report(checks: &[Check], colours: bool) -> Printable {
    let mut text = Printable::default();
    for (at, check) in checks.iter().enumerate() {
        let next = checks.get(at + 1).and_then(|next| next.remedy.as_ref());
        let remedy = check
            .remedy
            .as_deref()
            .filter(|remedy| next.is_none_or(|next| next != remedy));
        text = text.with(&format_check(check, remedy, colours));
    }
    text
}

fn format_check(check: &Check, remedy: Option<&str>, colours: bool) -> Printable {
    let (label, colour) = match check.verdict {
        Verdict::Passed => ("pass", "32"),
        Verdict::Warning => ("warn", "33"),
        Verdict::Failed => ("FAIL", "31"),
        _ => ("skip", "2"),
    };
    let label = if colours {
        format!("\x1b[{colour}m{label}\x1b[0m")
    } else {
        label.to_owned()
    };
    let line = Printable::trusted(label)
        .with_trusted("  ")
        .with(&Printable::line(&check.name))
        .with_trusted(": ")
        .with(&Printable::indented(&check.detail, INDENT))
        .with_trusted("\n");
    match remedy {
        Some(remedy) => line
            .with_trusted(INDENT)
            .with_trusted("-> ")
            .with(&Printable::indented(remedy, INDENT))
            .with_trusted("\n"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_of_several_checks_is_printed_once() {
        let failed = |name: &str, remedy: &str| Check::failed(name, "no").with_remedy(remedy);
        let checks = [
            failed("a", "apply"),
            failed("b", "apply"),
            Check::passed("c", "yes"),
            failed("d", "apply"),
            failed("e", "set"),
        ];
        let expected = "FAIL  a: no\nFAIL  b: no\n      -> apply\npass  c: yes\nFAIL  d: no\n      -> apply\n\
                        FAIL  e: no\n      -> set\n";
        assert_eq!(format_report(&checks, false).as_str(), expected);
    }
}
