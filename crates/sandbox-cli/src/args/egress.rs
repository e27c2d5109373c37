//! What a sandbox may reach.

use std::sync::Arc;

use anyhow::Result;
use sandbox::{Egress, HostTransform, NamedUpstream, SandboxBuilder};

use super::transform::TransformOptions;
use super::upstream::UpstreamOptions;
use crate::ui::questions::TerminalQuestions;

/// Options about what a sandbox may reach.
#[derive(clap::Args)]
pub(crate) struct EgressOptions {
    /// Let the sandbox reach what a preset allows: none, packages (package indexes), internet (ports 80 and 443) or open
    ///
    /// A proxy in this program carries the connections. Programs in the sandbox find it by HTTPS_PROXY and similar
    /// variables; there is no other way out. The sandbox is offline when this program ends.
    #[arg(long = "egress", value_name = "PRESET", value_parser = Egress::from_preset)]
    preset: Option<Egress>,
    /// Let the sandbox reach a host, such as api.example.com, *.example.com:8443 or 10.0.0.0/8:*; can be repeated
    ///
    /// Without a port, ports 80 and 443.
    #[arg(long = "egress-allow", value_name = "HOST[:PORT]|CIDR[:PORT]")]
    allow: Vec<String>,
    /// Keep the sandbox from a host that is allowed otherwise; can be repeated
    ///
    /// Without a port, all ports.
    #[arg(long = "egress-deny", value_name = "HOST[:PORT]|CIDR[:PORT]")]
    deny: Vec<String>,
    /// Ask at the terminal about each name that no rule decides about
    ///
    /// The answers are this time, always (until the sandbox or this program ends), and never. A connection waits for a
    /// minute, and is then refused.
    #[arg(long = "egress-ask")]
    is_asking: bool,
    /// Accept that the sandbox can reach more than the rules allow, with programs that do not use the proxy
    ///
    /// Otherwise a Pod is only used once it is proved from inside that it has no network, which needs a network plugin
    /// that enforces network policies.
    #[arg(long = "egress-unverified")]
    is_unverified: bool,
    #[command(flatten)]
    upstreams: UpstreamOptions,
    #[command(flatten)]
    transforms: TransformOptions,
}

impl EgressOptions {
    /// The rules in these options, in addition to `default` if no preset is given; `None` without any option.
    ///
    /// # Errors
    ///
    /// If a rule cannot be read.
    pub(crate) fn rules(&self, default: Option<&Egress>) -> Result<Option<Egress>> {
        if self.preset.is_none() && self.allow.is_empty() && self.deny.is_empty() && !self.is_asking
        {
            return Ok(None);
        }
        let base = self.preset.as_ref().or(default);
        let mut rules = base.cloned().unwrap_or_else(Egress::none);
        for rule in &self.allow {
            rules = rules.allow(rule)?;
        }
        for rule in &self.deny {
            rules = rules.deny(rule)?;
        }
        Ok(Some(rules))
    }

    /// Whether the user is asked about names that no rule decides about.
    pub(crate) fn is_asking(&self) -> bool {
        self.is_asking
    }

    pub(crate) fn is_unverified(&self) -> bool {
        self.is_unverified
    }

    /// Whether anything gets credentials.
    pub(crate) fn has_credentials(&self) -> bool {
        !self.upstreams.is_empty() || !self.transforms.is_empty()
    }

    /// Returns the files that the options name, without reading them.
    ///
    /// # Errors
    ///
    /// If an option cannot be read.
    pub(crate) fn find_files(&self) -> Result<Vec<&str>> {
        let mut files = self.upstreams.find_files()?;
        files.extend(self.transforms.find_files()?);
        Ok(files)
    }

    /// Reads what gets credentials, and the secrets.
    ///
    /// # Errors
    ///
    /// If an option cannot be read, or if a secret is not where it should be.
    pub(crate) fn read_credentials(&self) -> Result<(Vec<NamedUpstream>, Vec<HostTransform>)> {
        let upstreams = self.upstreams.read_besides(&self.transforms.hosts())?;
        Ok((upstreams, self.transforms.read(&self.upstreams)?))
    }

    /// Adds these options to the description of a sandbox.
    ///
    /// # Errors
    ///
    /// If a rule, an upstream, a transform or a secret cannot be read, or if there is no terminal to ask at.
    pub(crate) fn apply(&self, mut builder: SandboxBuilder) -> Result<SandboxBuilder> {
        if let Some(rules) = self.rules(builder.egress_rules())? {
            builder = builder.egress(rules);
        }
        let (upstreams, transforms) = self.read_credentials()?;
        builder = upstreams
            .into_iter()
            .fold(builder, SandboxBuilder::upstream);
        builder = transforms
            .into_iter()
            .fold(builder, SandboxBuilder::host_transform);
        if self.is_unverified {
            builder = builder.unverified_egress();
        }
        if self.is_asking {
            builder = builder.ask_about_egress(Arc::new(TerminalQuestions::new()?));
        }
        Ok(builder)
    }
}
