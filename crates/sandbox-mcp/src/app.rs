//! What all sessions share.

use std::sync::Arc;
use std::time::Duration;

use sandbox::{Client, Egress, NamedUpstream, SandboxBuilder};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::audit::Audit;
use crate::config::McpConfig;
use crate::error::McpError;
use crate::failure::Failure;
use crate::share::Share;

/// How long the end of the server waits for deletions. Sandboxes left then end by themselves, because no client is
/// attached to them.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(30);

const NO_NETWORK: &str = " There is no network; only the operator of this server can change that.";

/// What all sessions share.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) config: McpConfig,
    /// The rules that are served, with the upstreams. `None`: a sandbox has the network of its backend, if that has any.
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
        (builder, true)
    }

    /// Says what commands reach, if that is known.
    pub(crate) fn network_note(&self) -> String {
        let upstreams = &self.config.upstreams;
        match &self.egress {
            Some(rules) if !rules.is_none() => format!(
                " Programs that use the proxy in HTTPS_PROXY and HTTP_PROXY reach what these rules allow: {rules}. The rest \
                 is refused with the status 403; only the operator of this server can change that.{}",
                describe_upstreams(upstreams)
            ),
            Some(_) if !upstreams.is_empty() => format!(
                "{} Nothing else can be reached; only the operator of this server can change that.",
                describe_upstreams(upstreams)
            ),
            Some(_) => NO_NETWORK.to_owned(),
            None if !self.client.capabilities().network => NO_NETWORK.to_owned(),
            None => String::new(),
        }
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

/// Chooses the rules to be served: what the operator says, else the settings of the client, else none at all. Where sandboxes
/// have no network, nothing needs no proxy.
///
/// # Errors
///
/// If the backend cannot enforce the rules, or if upstreams exclude each other.
fn choose_egress(client: &Client, config: &McpConfig) -> Result<Option<Egress>, McpError> {
    let invalid = |reason: String| McpError::Config {
        option: "the egress",
        reason,
    };
    NamedUpstream::check_all(&config.upstreams).map_err(|error| invalid(error.to_string()))?;
    let capabilities = client.capabilities();
    let of_settings = || client.sandbox().egress_rules().cloned();
    let chosen = config.egress.clone().or_else(of_settings);
    if config.backend_network && (chosen.is_some() || !config.upstreams.is_empty()) {
        let reason = "there are rules or upstreams, which do not apply to sandboxes with the network of the backend; leave out \
                      one of the two";
        return Err(invalid(reason.to_owned()));
    }
    let is_default = chosen.is_none() && config.upstreams.is_empty();
    if is_default && (config.backend_network || !capabilities.network) {
        return Ok(None);
    }
    if capabilities.network && !capabilities.network_isolation && !config.unverified_egress {
        return Err(invalid(format!(
            "the backend {} cannot keep sandboxes from its network; use one that can, or let them have that network \
             (--egress-backend)",
            client.backend_name()
        )));
    }
    Ok(Some(chosen.unwrap_or_else(Egress::none)))
}

/// The description of upstreams for a model. Their names are plain words.
fn describe_upstreams(upstreams: &[NamedUpstream]) -> String {
    if upstreams.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = upstreams.iter().map(NamedUpstream::name).collect();
    format!(
        " Programs reach these services by environment variables that are set for them, and need no key of their own: {}.",
        names.join(", ")
    )
}
