//! `sandbox doctor`: whether sandboxes can be made here, and what to do where not.

use std::time::Instant;

use anyhow::Context;
use sandbox::{Check, Client, SandboxInfo, Settings, Verdict};

use crate::args::global::Global;
use crate::exit::Outcome;
use crate::ui::escape::Escaped;
use crate::ui::messages::{self, told};
use crate::ui::table::{Format, to_stdout};
use crate::ui::terminal;

/// Something is wrong, and was told.
const EXIT_UNWELL: u8 = 1;

/// Check settings, the cluster or this machine, and the tools beside it
///
/// On this machine a sandbox is made and removed again, to see what separates it. On a cluster that
/// is done with --try only; without, the cluster is asked about its version, each right that is
/// needed, and what it says to a Pod as a dry run. The exit code is 1 when something failed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make a sandbox and run a command in it, also on a cluster
    #[arg(long = "try")]
    try_out: bool,
    /// Container image for it (Kubernetes), over SANDBOX_IMAGE
    #[arg(long)]
    image: Option<String>,
    /// The form to print it in
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

/// Does not fail: what goes wrong is what it tells.
pub(crate) async fn run(args: Args, global: &Global) -> Outcome {
    let checks = examine(&args, global).await;
    let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
    match args.output {
        Format::Json => to_stdout(
            Format::Json,
            &serde_json::to_string_pretty(&checks).context("cannot write JSON")?,
        )?,
        Format::Table => {
            let colours = terminal::has_colours(&std::io::stdout());
            messages::print(&report(&checks, colours))?
        }
    };
    Ok(if failed { EXIT_UNWELL } else { 0 })
}

async fn examine(args: &Args, global: &Global) -> Vec<Check> {
    let settings = match global.settings() {
        Ok(settings) => settings,
        Err(error) => {
            let remedy = "correct or unset them; .env.example says what each accepts";
            return vec![Check::failed("settings", told(&error)).with_remedy(remedy)];
        }
    };
    let mut checks = vec![of_settings(&settings)];
    let client = match Client::from_settings(&settings).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = "correct what it names, or use this machine: --backend local";
            checks.push(Check::failed("backend", told(&error.into())).with_remedy(remedy));
            return checks;
        }
    };
    let place = client.location().unwrap_or("this machine");
    checks.push(Check::passed(
        "backend",
        format!("{}, {place}", settings.backend),
    ));
    let mut builder = client.sandbox();
    if let Some(image) = &args.image {
        builder = builder.image(image);
    }
    match builder.clone().preflight().await {
        Ok(found) => checks.extend(found),
        Err(error) => checks.push(Check::failed("sandbox", told(&error.into()))),
    }
    let well = checks.iter().all(|check| check.verdict != Verdict::Failed);
    let on_a_cluster = client.location().is_some();
    match (well, args.try_out || !on_a_cluster) {
        (true, true) => checks.extend(try_out(builder).await),
        (false, true) => checks.push(Check::skipped(
            "a sandbox",
            "what is above must be mended first",
        )),
        (_, false) => checks.push(Check::skipped("a sandbox", "make one with --try")),
    }
    checks.push(of_ssh().await);
    checks
}

fn of_settings(settings: &Settings) -> Check {
    const NAME: &str = "settings";
    match settings.unknown.as_slice() {
        [] => Check::passed(NAME, "all are understood"),
        unknown => Check::warning(
            NAME,
            format!("these variables mean nothing to it: {}", unknown.join(", ")),
        )
        .with_remedy("see .env.example for all there are"),
    }
}

/// One sandbox, from its creation to its removal.
async fn try_out(builder: sandbox::SandboxBuilder) -> Vec<Check> {
    const NAME: &str = "a sandbox";
    let begun = Instant::now();
    let sandbox = match builder.create().await {
        Ok(sandbox) => sandbox,
        Err(error) => {
            let remedy = "`sandbox -vv run -- true` says more; docs/TROUBLESHOOTING.md lists causes and fixes";
            return vec![Check::failed(NAME, told(&error.into())).with_remedy(remedy)];
        }
    };
    let created = begun.elapsed();
    let ran = sandbox.shell("exit 0").output().await;
    let info = sandbox
        .refresh()
        .await
        .unwrap_or_else(|_| sandbox.info().clone());
    let removed = sandbox.delete().await;
    let mut checks = match ran {
        Ok(output) if output.status.success() => {
            vec![Check::passed(
                NAME,
                format!("created in {:.2} s; a command ran", created.as_secs_f64()),
            )]
        }
        Ok(output) => vec![Check::failed(
            NAME,
            format!("a command failed in it: {}", output.status),
        )],
        Err(error) => vec![Check::failed(NAME, told(&error.into()))],
    };
    checks.push(isolation(&info));
    checks.push(match removed {
        Ok(()) => Check::passed("its removal", "nothing is left"),
        Err(error) => Check::failed("its removal", told(&error.into())),
    });
    checks
}

fn isolation(info: &SandboxInfo) -> Check {
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
    let means = match info.isolation.applied.as_slice() {
        [] => String::new(),
        means => format!(": {}", means.join(", ")),
    };
    // No Pod says what the policies of its namespace let through.
    let network = if info.isolation.kind == "pod" {
        "; network: not looked at"
    } else {
        ""
    };
    let detail = format!("{}{means}; {limits}{network}", info.isolation.kind);
    match info.isolation.kind.as_str() {
        "none" => Check::warning(NAME, "nothing separates it from this machine").with_remedy(
            "leave SANDBOX_LOCAL_ISOLATION=auto, on a Linux that permits user namespaces or Landlock",
        ),
        "landlock" => Check::warning(NAME, detail).with_remedy(
            "for more, let users make namespaces: sysctl -w user.max_user_namespaces=10000 and, on Ubuntu, \
             kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        _ => Check::passed(NAME, detail),
    }
}

async fn of_ssh() -> Check {
    const NAME: &str = "OpenSSH's client";
    let asked =
        tokio::task::spawn_blocking(|| std::process::Command::new("ssh").arg("-V").output());
    match asked.await {
        Ok(Ok(output)) if !output.status.success() => {
            let said = String::from_utf8_lossy(&output.stderr);
            Check::warning(NAME, format!("it does not work here: {}", said.trim()))
                .with_remedy("run as a user that has an entry in /etc/passwd")
        }
        Ok(Ok(output)) => Check::passed(
            NAME,
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ),
        _ => Check::warning(
            NAME,
            "it is not installed; only `sandbox ssh` and the standard tools need it",
        )
        .with_remedy("install openssh-client"),
    }
}

/// What mends several in a row stands below the last of them.
fn report(checks: &[Check], colours: bool) -> String {
    let mut text = String::new();
    for (at, check) in checks.iter().enumerate() {
        let next = checks.get(at + 1).and_then(|next| next.remedy.as_ref());
        let remedy = check
            .remedy
            .as_deref()
            .filter(|remedy| next.is_none_or(|next| next != remedy));
        text.push_str(&line(check, remedy, colours));
    }
    text
}

fn line(check: &Check, remedy: Option<&str>, colours: bool) -> String {
    let (word, colour) = match check.verdict {
        Verdict::Passed => ("pass", "32"),
        Verdict::Warning => ("warn", "33"),
        Verdict::Failed => ("FAIL", "31"),
        _ => ("skip", "2"),
    };
    let word = if colours {
        format!("\x1b[{colour}m{word}\x1b[0m")
    } else {
        word.to_owned()
    };
    let text = |text: &str| {
        text.lines()
            .map(|line| Escaped(line).to_string())
            .collect::<Vec<_>>()
            .join("\n      ")
    };
    let mut line = format!(
        "{word}  {}: {}\n",
        Escaped(&check.name),
        text(&check.detail)
    );
    if let Some(remedy) = remedy {
        line.push_str(&format!("      -> {}\n", text(remedy)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mend_for_several_is_told_once_below_them() {
        let wrong = |name: &str, mend: &str| Check::failed(name, "no").with_remedy(mend);
        let checks = [
            wrong("a", "apply"),
            wrong("b", "apply"),
            Check::passed("c", "yes"),
            wrong("d", "apply"),
            wrong("e", "set"),
        ];
        let expected = "FAIL  a: no\nFAIL  b: no\n      -> apply\npass  c: yes\nFAIL  d: no\n      -> apply\n\
                        FAIL  e: no\n      -> set\n";
        assert_eq!(report(&checks, false), expected);
    }
}
