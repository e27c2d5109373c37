//! What all sessions share.

use std::sync::Arc;
use std::time::Duration;

use sandbox::{Client, Egress, SandboxBuilder};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::config::McpConfig;
use crate::egress::{choose_egress, describe_egress};
use crate::error::McpError;
use crate::failure::Failure;
use crate::share::Share;

/// How long the end of the server waits for deletions. Sandboxes left then end by themselves, because no client is
/// attached to them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

/// What all sessions share.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) config: McpConfig,
    /// The rules that are served, with the upstreams and the transforms. `None`: a sandbox has the network of its backend, if that has any.
    egress: Option<Egress>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) share: Option<Share>,
    /// Room for sandboxes.
    pub(crate) room: Arc<Semaphore>,
    /// Creations and deletions that outlast the call or the session that wanted them.
    pub(crate) tasks: TaskTracker,
}

impl App {
    /// Opens the files that the configuration names.
    ///
    /// # Errors
    ///
    /// If the configuration is not valid, or a file cannot be opened.
    pub(crate) fn new(client: Client, config: McpConfig) -> Result<Self, McpError> {
        if config.max_sandboxes == 0 || config.max_sandboxes > Semaphore::MAX_PERMITS {
            return Err(McpError::Config {
                option: "the number of sandboxes",
                reason: "use at least 1".to_owned(),
            });
        }
        if config.ttl.is_zero() {
            return Err(McpError::Config {
                option: "the ttl",
                reason: "use a time above zero".to_owned(),
            });
        }
        Ok(Self {
            egress: choose_egress(&client, &config)?,
            audit: Arc::new(Audit::open(config.audit.as_deref())?),
            share: config.share.as_deref().map(Share::open).transpose()?,
            room: Arc::new(Semaphore::new(config.max_sandboxes)),
            tasks: TaskTracker::new(),
            client,
            config,
        })
    }

    /// Returns the image for a new sandbox: the one that is asked for, if the operator permits it, or the default.
    pub(crate) fn choose_image(&self, wanted: Option<&str>) -> Result<Option<&str>, Failure> {
        let images = &self.config.images;
        let Some(wanted) = wanted else {
            return Ok(images.first().map(String::as_str));
        };
        match images.iter().find(|image| *image == wanted) {
            Some(image) => Ok(Some(image)),
            None if images.is_empty() => Err(Failure::new(
                "the operator of this server permits no choice of an image; call again without `image`",
            )),
            None => Err(Failure::new(format!(
                "the image {wanted:?} is not permitted; choose one of {}",
                images.join(", ")
            ))),
        }
    }

    /// Adds what sandboxes may reach to the description of one. Returns whether decisions are made about it.
    pub(crate) fn add_egress(&self, builder: SandboxBuilder) -> (SandboxBuilder, bool) {
        let builder = if self.config.unverified_egress {
            builder.unverified_egress()
        } else {
            builder
        };
        let Some(rules) = &self.egress else {
            return (builder, false);
        };
        let upstreams = self.config.upstreams.iter().cloned();
        let builder = upstreams.fold(builder.egress(rules.clone()), SandboxBuilder::upstream);
        let transforms = self.config.transforms.iter().cloned();
        (
            transforms.fold(builder, SandboxBuilder::host_transform),
            true,
        )
    }

    /// Says what commands reach, if that is known.
    pub(crate) fn network_note(&self) -> String {
        let has_network = self.client.capabilities().network;
        describe_egress(self.egress.as_ref(), &self.config, has_network)
    }

    /// Waits for creations and deletions that are under way, up to a limit.
    pub(crate) async fn finish(&self) {
        self.tasks.close();
        let finishing = async {
            self.tasks.wait().await;
            self.client.settle().await;
        };
        if tokio::time::timeout(CLOSE_TIMEOUT, finishing)
            .await
            .is_err()
        {
            tracing::warn!("deletions have not finished in time; the sandboxes end by themselves");
        }
    }
}
