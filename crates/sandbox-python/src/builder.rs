//! The options of new sandboxes.

use std::collections::BTreeMap;

use pyo3::prelude::*;
use sandbox::{Client, Egress, Error, ExecRequest, Result, SandboxBuilder};
use tokio::sync::mpsc::UnboundedSender;

use crate::core::arguments::optional_duration;
use crate::records::event_record;
use crate::transforms::TransformOptions;
use crate::upstreams::UpstreamOptions;
use crate::value::Value;

/// The options of a new sandbox, a dictionary with all of these keys. `None` leaves an option to the settings.
#[derive(FromPyObject, Clone)]
#[pyo3(from_item_all)]
pub(crate) struct CreateOptions {
    name: Option<String>,
    image: Option<String>,
    cpu: Option<String>,
    memory: Option<String>,
    disk: Option<String>,
    pids: Option<u32>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    env: BTreeMap<String, String>,
    secret_env: BTreeMap<String, String>,
    init: Vec<InitCommand>,
    ttl: Option<f64>,
    max_lifetime: Option<f64>,
    idle_timeout: Option<f64>,
    create_timeout: Option<f64>,
    on_expiry: Option<String>,
    detached: bool,
    egress: EgressRules,
    egress_upstreams: Vec<UpstreamOptions>,
    egress_transforms: Vec<TransformOptions>,
    egress_unverified: bool,
    /// For each backend, its options as JSON.
    backend_options: BTreeMap<String, String>,
}

/// What a sandbox may reach, a dictionary with all of these keys.
#[derive(FromPyObject, Clone)]
#[pyo3(from_item_all)]
pub(crate) struct EgressRules {
    /// A preset, or rules in the notation of `SANDBOX_EGRESS`.
    egress: Option<String>,
    egress_allow: Vec<String>,
    egress_deny: Vec<String>,
}

impl EgressRules {
    /// The rules, in addition to `default` if there is no preset; `None` if there are none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for what is no preset and no rule.
    fn into_rules(self, default: Option<&Egress>) -> Result<Option<Egress>> {
        if self.egress.is_none() && self.egress_allow.is_empty() && self.egress_deny.is_empty() {
            return Ok(None);
        }
        let mut rules = match self.egress {
            Some(rules) => rules.parse()?,
            None => default.cloned().unwrap_or_else(Egress::none),
        };
        for rule in &self.egress_allow {
            rules = rules.allow(rule)?;
        }
        for rule in &self.egress_deny {
            rules = rules.deny(rule)?;
        }
        Ok(Some(rules))
    }

    /// The rules; without any, nothing is allowed.
    ///
    /// # Errors
    ///
    /// As [`into_rules`](Self::into_rules).
    pub(crate) fn into_certain_rules(self) -> Result<Egress> {
        Ok(self.into_rules(None)?.unwrap_or_else(Egress::none))
    }
}

/// An initial command: arguments, or a line for the shell.
#[derive(FromPyObject, Clone)]
pub(crate) enum InitCommand {
    Shell(String),
    Argv(Vec<Vec<u8>>),
}

impl InitCommand {
    pub(crate) fn into_request(self) -> ExecRequest {
        match self {
            Self::Shell(line) => ExecRequest::from_shell(line),
            Self::Argv(argv) => ExecRequest::from_argv(argv),
        }
    }
}

impl CreateOptions {
    /// Whether anything gets credentials.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.egress_upstreams.is_empty() || !self.egress_transforms.is_empty()
    }

    /// Returns the builder of such a sandbox.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a duration, a rule, an upstream, a transform or JSON that is invalid; the builder reports the rest when it creates.
    pub(crate) fn into_builder(self, client: &Client) -> Result<SandboxBuilder> {
        let mut builder = client.sandbox();
        if let Some(name) = &self.name {
            builder = builder.id(name);
        }
        if let Some(image) = self.image {
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
        for (key, value) in self.labels {
            builder = builder.label(key, value);
        }
        for (key, value) in self.annotations {
            builder = builder.annotation(key, value);
        }
        for (name, value) in self.env {
            builder = builder.env(name, value);
        }
        for (name, value) in self.secret_env {
            builder = builder.secret_env(name, value);
        }
        for command in self.init {
            builder = builder.init(command.into_request());
        }
        if let Some(ttl) = optional_duration("ttl", self.ttl)? {
            builder = builder.ttl(ttl);
        }
        if let Some(max) = optional_duration("max_lifetime", self.max_lifetime)? {
            builder = builder.max_lifetime(max);
        }
        if let Some(idle) = optional_duration("idle_timeout", self.idle_timeout)? {
            builder = builder.idle_timeout(idle);
        }
        if let Some(timeout) = optional_duration("create_timeout", self.create_timeout)? {
            builder = builder.create_timeout(timeout);
        }
        if let Some(on_expiry) = &self.on_expiry {
            builder = builder.on_expiry(on_expiry.parse()?);
        }
        if self.detached {
            builder = builder.detached();
        }
        if let Some(rules) = self.egress.into_rules(builder.egress_rules())? {
            builder = builder.egress(rules);
        }
        for upstream in self.egress_upstreams {
            builder = builder.upstream(upstream.into_upstream()?);
        }
        for transform in self.egress_transforms {
            builder = builder.host_transform(transform.into_transform()?);
        }
        if self.egress_unverified {
            builder = builder.unverified_egress();
        }
        for (backend, options) in self.backend_options {
            let options = serde_json::from_str(&options).map_err(|error| {
                Error::invalid("backend_options", backend.as_str(), error.to_string())
            })?;
            builder = builder.backend_options(backend, options);
        }
        Ok(builder)
    }
}

/// Has each step of a creation reported.
pub(crate) fn report_events(
    builder: SandboxBuilder,
    reports: Option<UnboundedSender<Value>>,
) -> SandboxBuilder {
    match reports {
        Some(reports) => builder.on_event(move |event| {
            // The receiver is gone.
            drop(reports.send(event_record(event)));
        }),
        None => builder,
    }
}
