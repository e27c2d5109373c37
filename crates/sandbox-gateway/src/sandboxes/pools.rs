//! Sandboxes that wait, for templates whose creations must not take time.

use std::collections::BTreeMap;

use sandbox::{Client, OnEmpty, Pool, SandboxBuilder, SharedPool};

use super::egress::EgressLimits;
use crate::config::{GatewayConfig, Template, TemplatePool};
use crate::error::GatewayError;
use crate::hex;

/// How the sandboxes of a template are got.
#[derive(Debug)]
pub(crate) enum TemplatePoolHandle {
    /// They wait in this process, where a backend has no pools that processes share. They end with the gateway.
    InProcess(Pool),
    /// They wait in the backend, where any replica claims them.
    Shared {
        /// The name of the pool.
        name: String,
    },
}

/// The pools, by the name of their template.
pub(crate) type Pools = BTreeMap<String, TemplatePoolHandle>;

/// What fills pools until it is stopped.
#[derive(Debug)]
pub(crate) enum Filler {
    /// Those of this process.
    InProcess(Pool),
    /// Those in the backend, of which one replica fills each.
    Shared(SharedPool),
}

/// Starts to fill the pools that the templates ask for.
pub(crate) async fn start(
    config: &GatewayConfig,
    client: &Client,
    limits: &EgressLimits,
) -> Result<(Pools, Vec<Filler>), GatewayError> {
    let mut pools = Pools::new();
    let mut fillers = Vec::new();
    let mut mistakes = Vec::new();
    for (name, template) in &config.templates {
        let Some(pool) = &template.pool else { continue };
        let handle = match pool {
            TemplatePool::Shared { name } => TemplatePoolHandle::Shared { name: name.clone() },
            TemplatePool::Own { size } => {
                match fill(config, client, limits, (name, template), *size).await {
                    Ok((handle, filler)) => {
                        fillers.push(filler);
                        handle
                    }
                    Err(error) => {
                        mistakes.push(format!("templates.{name}.pool: {error}"));
                        continue;
                    }
                }
            }
        };
        pools.insert(name.clone(), handle);
    }
    if mistakes.is_empty() {
        Ok((pools, fillers))
    } else {
        Err(GatewayError::Config(mistakes))
    }
}

/// Fills a pool of this gateway: in the backend, so that replicas share it, or in this process if the backend cannot.
async fn fill(
    config: &GatewayConfig,
    client: &Client,
    limits: &EgressLimits,
    (template_name, template): (&str, &Template),
    size: usize,
) -> sandbox::Result<(TemplatePoolHandle, Filler)> {
    let name = pool_name(&config.name, template_name);
    let reach = limits.find(template_name);
    let sandboxes = limits.apply(describe(client, template), &reach);
    match client
        .shared_pool(&name, sandboxes.clone())
        .size(size)
        .start()
        .await
    {
        Ok(filler) => Ok((TemplatePoolHandle::Shared { name }, Filler::Shared(filler))),
        Err(sandbox::Error::Unsupported(_)) => {
            let pool = client
                .pool(sandboxes)
                .size(size)
                .on_empty(OnEmpty::Create)
                .start()?;
            Ok((
                TemplatePoolHandle::InProcess(pool.clone()),
                Filler::InProcess(pool),
            ))
        }
        Err(error) => Err(error),
    }
}

/// Stops to fill the pools. What waits in this process is deleted; what waits in the backend is adopted by the next
/// replica, or ends by itself.
pub(crate) async fn stop(fillers: Vec<Filler>) {
    for filler in fillers {
        match filler {
            Filler::InProcess(pool) => {
                if let Err(error) = pool.close().await {
                    tracing::warn!(%error, "waiting sandbox not deleted; it ends by itself");
                }
            }
            Filler::Shared(filler) => filler.stop().await,
        }
    }
}

/// Describes a sandbox of a template, as far as all of them are alike.
pub(super) fn describe(client: &Client, template: &Template) -> SandboxBuilder {
    let mut sandbox = client.sandbox().max_lifetime(template.max_lifetime);
    if let Some(image) = &template.image {
        sandbox = sandbox.image(image);
    }
    if let Some(cpu) = template.cpu {
        sandbox = sandbox.cpu(cpu.to_string());
    }
    if let Some(memory) = template.memory {
        sandbox = sandbox.memory(memory.to_string());
    }
    if let Some(disk) = template.disk {
        sandbox = sandbox.disk(disk.to_string());
    }
    if let Some(pids) = template.pids {
        sandbox = sandbox.pids(pids);
    }
    if let Some(options) = &template.kubernetes {
        sandbox = sandbox.backend_options("k8s", options.clone());
    }
    sandbox
}

/// The name of the pool of a template: readable as far as names of pools allow, and unique.
fn pool_name(gateway: &str, template: &str) -> String {
    let hash = ring::digest::digest(
        &ring::digest::SHA256,
        format!("{gateway}\0{template}").as_bytes(),
    );
    let readable: String = template
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect();
    format!(
        "gw-{}-{}",
        readable.to_ascii_lowercase(),
        &hex::encode(hash.as_ref())[..10]
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox::PoolName;

    #[test]
    fn every_template_has_a_valid_name_of_its_own() {
        let names: std::collections::BTreeSet<_> =
            ["base", "Base", "a/b:c", "...", &"x".repeat(128)]
                .iter()
                .map(|template| pool_name("e2b", template))
                .collect();
        assert_eq!(names.len(), 5);
        for name in names {
            name.parse::<PoolName>().unwrap();
        }
    }
}
