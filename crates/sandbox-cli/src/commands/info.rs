//! `sandbox info`: prints the properties of one sandbox.

use std::ffi::OsString;
use std::time::{Duration, SystemTime};

use sandbox::{Client, LimitScope, SandboxId, SandboxInfo, SandboxState, rfc3339};

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::cells::{format_duration, format_labels, format_state};
use crate::ui::printable::Printable;
use crate::ui::table::{Format, Table, print};

/// How long a sandbox that seems to start is tried.
const TRIAL: Duration = Duration::from_secs(1);

/// Show the properties of a sandbox
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Output format
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let mut info = client
        .get_sandbox_info(&id::resolve(client, &args.id).await?)
        .await?;
    if info.state == SandboxState::Pending && answers(client, &info.id).await {
        info.state = SandboxState::Running;
    }
    // The mark in the JSON form, too, if the sandbox was paused at the end of its ttl.
    info.is_marked_paused = info.is_paused(SystemTime::now());
    let text = match args.output {
        Format::Json => Printable::json(&info)?,
        Format::Table => describe(&info, client.location(), SystemTime::now()),
    };
    print(&text)
}

/// Whether a sandbox's server answers. A kubelet reports up to some seconds late that a container runs, while commands
/// work already. Nothing logs in, so this does not count as a use of the sandbox.
async fn answers(client: &Client, id: &SandboxId) -> bool {
    let trial = async {
        let access = client.access(id).await?;
        client.open_ssh_stream(&access).await
    };
    matches!(tokio::time::timeout(TRIAL, trial).await, Ok(Ok(_stream)))
}

fn describe(info: &SandboxInfo, location: Option<&str>, now: SystemTime) -> Printable {
    let when = |time: SystemTime| match time.duration_since(now) {
        Ok(left) => format!("{} (in {})", rfc3339(time), format_duration(left)),
        Err(ago) => format!(
            "{} ({} ago)",
            rfc3339(time),
            format_duration(ago.duration())
        ),
    };
    let limits = info.limits.iter().map(|limit| {
        let scope = match limit.scope {
            LimitScope::Sandbox => "",
            LimitScope::Process => " each process",
        };
        format!(
            "{} {}{scope} ({})",
            limit.resource, limit.value, limit.enforced_by
        )
    });
    let limits: Vec<String> = limits.collect();
    let isolation = match info.isolation.applied.as_slice() {
        [] => info.isolation.kind.clone(),
        applied => format!("{}: {}", info.isolation.kind, applied.join(", ")),
    };
    let rows = [
        ("id", Some(info.id.to_string())),
        ("uid", Some(info.uid.to_string())),
        ("backend", Some(info.backend.clone())),
        ("location", location.map(str::to_owned)),
        ("state", Some(format_state(info))),
        ("reason", info.end.as_ref().map(|end| end.message.clone())),
        ("image", info.image.clone()),
        ("address", info.address.clone()),
        ("port", info.port.map(|port| port.to_string())),
        ("user", Some(info.user.clone())),
        ("home", info.home.clone()),
        (
            "labels",
            Some(format_labels(info)).filter(|labels| !labels.is_empty()),
        ),
        ("created", Some(when(info.created_at))),
        ("ends", info.expires_at.map(when)),
        ("isolation", Some(isolation)),
        (
            "limits",
            Some(limits.join(", ")).filter(|limits| !limits.is_empty()),
        ),
    ];
    let mut table = Table::default();
    for (name, value) in rows {
        if let Some(value) = value {
            table.push([format!("{name}:"), value]);
        }
    }
    table.format()
}
