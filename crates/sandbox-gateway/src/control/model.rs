//! Sandboxes as the REST API shows them.

use std::collections::BTreeMap;
use std::time::SystemTime;

use sandbox::{ByteSize, Cpu};
use serde::Serialize;

use super::page::Position;
use super::time::format_time;
use crate::app::App;
use crate::sandboxes::Owned;
use crate::sandboxes::record::{Lifecycle, OnTimeout, Record};

/// The version of E2B's daemon whose features the gateway has. SDKs switch features on by it.
const ENVD_VERSION: &str = "0.6.13";
/// SDKs of old want one; nothing uses it.
const CLIENT_ID: &str = "gateway";

/// A sandbox that one can connect to, with its tokens.
#[derive(Debug, Serialize)]
pub(super) struct Connectable {
    #[serde(rename = "templateID")]
    template_id: String,
    #[serde(rename = "sandboxID")]
    sandbox_id: String,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    #[serde(rename = "envdVersion")]
    envd_version: &'static str,
    #[serde(rename = "envdAccessToken")]
    envd_access_token: String,
    #[serde(rename = "trafficAccessToken")]
    traffic_access_token: Option<String>,
    domain: Option<String>,
    alias: String,
}

impl Connectable {
    pub(super) fn new(app: &App, sandbox: &Owned) -> Self {
        let tokens = app.sandboxes.tokens();
        let uid = &sandbox.info.uid;
        let is_private = sandbox.record.network.allow_public_traffic == Some(false);
        Self {
            template_id: sandbox.record.template.clone(),
            sandbox_id: sandbox.info.id.to_string(),
            client_id: CLIENT_ID,
            envd_version: ENVD_VERSION,
            envd_access_token: tokens.envd(uid),
            traffic_access_token: is_private.then(|| tokens.traffic(uid)),
            domain: app.config.domain.clone(),
            alias: sandbox.record.template.clone(),
        }
    }
}

/// A sandbox in a list.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    #[serde(rename = "templateID")]
    template_id: String,
    #[serde(rename = "sandboxID")]
    sandbox_id: String,
    #[serde(rename = "clientID")]
    client_id: &'static str,
    #[serde(rename = "startedAt")]
    started_at: String,
    #[serde(rename = "endAt")]
    end_at: String,
    #[serde(rename = "cpuCount")]
    cpu_count: u64,
    #[serde(rename = "memoryMB")]
    memory_mb: u64,
    #[serde(rename = "diskSizeMB")]
    disk_size_mb: u64,
    state: State,
    #[serde(rename = "envdVersion")]
    envd_version: &'static str,
    alias: String,
    metadata: BTreeMap<String, String>,
}

/// Everything about one sandbox.
#[derive(Debug, Serialize)]
pub(super) struct Detail {
    #[serde(flatten)]
    listed: Listed,
    #[serde(rename = "envdAccessToken")]
    envd_access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    lifecycle: LifecycleView,
    #[serde(
        rename = "allowInternetAccess",
        skip_serializing_if = "Option::is_none"
    )]
    allow_internet_access: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkView>,
}

/// What was asked for about the network. Clients take a missing field for one that was left out, and fail on `null`.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct NetworkView {
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_public_traffic: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask_request_host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    allow_out: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deny_out: Option<Vec<String>>,
}

impl NetworkView {
    fn new(record: &Record) -> Option<Self> {
        let Record {
            network, egress, ..
        } = record;
        let view = Self {
            allow_public_traffic: network.allow_public_traffic,
            mask_request_host: network.mask_request_host.clone(),
            allow_out: egress.allow_out.clone(),
            deny_out: egress.deny_out.clone(),
        };
        (view != Self::default()).then_some(view)
    }
}

/// What happens at the end of the timeout.
#[derive(Debug, Serialize)]
struct LifecycleView {
    #[serde(rename = "autoResume")]
    auto_resume: bool,
    #[serde(rename = "onTimeout")]
    on_timeout: OnTimeout,
}

/// Whether a sandbox runs. There is nothing in between, because SDKs fail on any other state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Running,
    Paused,
}

impl Listed {
    pub(super) fn new(app: &App, sandbox: &Owned) -> Self {
        let Owned { info, record } = sandbox;
        let limits = Limits::of(app, sandbox);
        Self {
            template_id: record.template.clone(),
            sandbox_id: info.id.to_string(),
            client_id: CLIENT_ID,
            started_at: format_time(sandbox.started_at()),
            end_at: format_time(sandbox.ends_at(SystemTime::now())),
            cpu_count: limits.cpu_count,
            memory_mb: limits.memory_mb,
            disk_size_mb: limits.disk_mb,
            state: state_of(sandbox),
            envd_version: ENVD_VERSION,
            alias: record.template.clone(),
            metadata: record.metadata.clone(),
        }
    }
}

impl Detail {
    pub(super) fn new(app: &App, sandbox: &Owned) -> Self {
        let Lifecycle {
            on_timeout,
            auto_resume,
        } = sandbox.record.lifecycle;
        Self {
            listed: Listed::new(app, sandbox),
            envd_access_token: app.sandboxes.tokens().envd(&sandbox.info.uid),
            domain: app.config.domain.clone(),
            lifecycle: LifecycleView {
                auto_resume,
                on_timeout,
            },
            allow_internet_access: sandbox.record.egress.allow_internet_access,
            network: NetworkView::new(&sandbox.record),
        }
    }
}

/// Whether a sandbox runs, without asking its server.
pub(super) fn state_of(sandbox: &Owned) -> State {
    if sandbox.is_paused(SystemTime::now()) {
        State::Paused
    } else {
        State::Running
    }
}

/// The place of a sandbox in lists.
pub(super) fn position_of(sandbox: &Owned) -> Position {
    Position::new(sandbox.started_at(), sandbox.info.id.clone())
}

/// How much a sandbox may use, in whole numbers. Zero stands for no limit that is known, except that there is always a
/// processor.
struct Limits {
    cpu_count: u64,
    memory_mb: u64,
    disk_mb: u64,
}

impl Limits {
    /// Reads the limits that are enforced, or else those of the template.
    fn of(app: &App, sandbox: &Owned) -> Self {
        let template = app
            .config
            .template(&sandbox.record.template)
            .map(|(_, template)| template);
        let enforced = |resource: &str| {
            let limits = sandbox.info.limits.iter();
            limits
                .filter(|limit| limit.resource == resource)
                .map(|limit| limit.value.as_str())
                .next()
        };
        let cpu: Option<Cpu> = enforced("cpu").and_then(|text| text.parse().ok());
        let bytes =
            |resource: &str| enforced(resource).and_then(|text| text.parse::<ByteSize>().ok());
        let cpu = cpu.or_else(|| template?.cpu);
        let memory = bytes("memory").or_else(|| template?.memory);
        let disk = bytes("disk").or_else(|| template?.disk);
        let megabytes = |size: ByteSize| size.as_bytes() / (1024 * 1024);
        Self {
            cpu_count: cpu.map_or(1, |cpu| cpu.as_millis().div_ceil(1000)).max(1),
            memory_mb: memory.map_or(0, megabytes),
            disk_mb: disk.map_or(0, megabytes),
        }
    }
}
