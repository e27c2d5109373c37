//! Options of a new sandbox.

use std::time::Duration;

use anyhow::Result;
use sandbox::{Client, SandboxBuilder, SandboxId};

use crate::args::pod::PodArgs;
use crate::args::values::{duration, pair};

/// What a new sandbox shall be.
#[derive(clap::Args)]
pub(crate) struct SandboxOptions {
    /// Container image, such as python:3.12-slim (Kubernetes)
    #[arg(long)]
    image: Option<String>,
    /// Processor time, such as 500m or 2
    #[arg(long, visible_alias = "cpus")]
    cpu: Option<String>,
    /// Memory, such as 512Mi
    #[arg(short, long, value_name = "BYTES")]
    memory: Option<String>,
    /// Disk, such as 1Gi
    #[arg(long, value_name = "BYTES")]
    disk: Option<String>,
    /// Processes and threads
    #[arg(long, value_name = "COUNT")]
    pids: Option<u32>,
    /// End it after this time, such as 90s, 30m or 2h
    #[arg(long, value_name = "TIME", value_parser = duration)]
    ttl: Option<Duration>,
    /// A label to find it by; can be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    pod: PodArgs,
}

impl SandboxOptions {
    pub(crate) fn names_image(&self) -> bool {
        self.image.is_some()
    }

    /// Describes the sandbox, with an id known beforehand: whatever interrupts the creation can
    /// delete what came of it.
    pub(crate) fn builder(&self, client: &Client, id: &SandboxId) -> Result<SandboxBuilder> {
        let mut builder = client.sandbox().id(id);
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
        for (key, value) in &self.labels {
            builder = builder.label(key, value);
        }
        self.pod.apply(builder)
    }
}
