//! Options of a new sandbox.

use std::time::Duration;

use anyhow::Result;
use sandbox::{Client, OnExpiry, SandboxBuilder};

use crate::args::egress::EgressOptions;
use crate::args::pod::PodArgs;
use crate::args::values::{parse_pair, parse_positive_duration};

/// Options of a new sandbox.
#[derive(clap::Args)]
pub(crate) struct SandboxOptions {
    /// Container image, such as python:3.12-slim (Kubernetes)
    #[arg(long)]
    image: Option<String>,
    /// CPU limit, such as 500m or 2
    #[arg(long, visible_alias = "cpus")]
    cpu: Option<String>,
    /// Memory limit, such as 512Mi
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Disk limit, such as 1Gi
    #[arg(long, value_name = "BYTES")]
    disk: Option<String>,
    /// Maximum number of processes and threads
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// End the sandbox after this time, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    ttl: Option<Duration>,
    /// What happens at the end of --ttl: end, or pause until `sandbox resume`
    #[arg(long, value_name = "ACTION", requires = "ttl")]
    on_expiry: Option<OnExpiry>,
    /// Set a label, to find the sandbox by; can be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    egress: EgressOptions,
    #[command(flatten)]
    pod: PodArgs,
}

impl SandboxOptions {
    /// Whether an image was given.
    pub(crate) fn has_image(&self) -> bool {
        self.image.is_some()
    }

    /// Whether the user is asked what the sandbox may reach.
    pub(crate) fn is_asking(&self) -> bool {
        self.egress.is_asking()
    }

    /// Describes the sandbox, without an id.
    ///
    /// # Errors
    ///
    /// If `--pod-options` or an egress rule cannot be read, or if there is no terminal to ask at.
    pub(crate) fn describe(&self, client: &Client) -> Result<SandboxBuilder> {
        let mut builder = client.sandbox();
        if let Some(image) = &self.image {
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
        if let Some(ttl) = self.ttl {
            builder = builder.ttl(ttl);
        }
        if let Some(on_expiry) = self.on_expiry {
            builder = builder.on_expiry(on_expiry);
        }
        for (key, value) in &self.labels {
            builder = builder.label(key, value);
        }
        self.pod.apply(self.egress.apply(builder)?)
    }
}
