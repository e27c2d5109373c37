//! The default values of a client.

use std::time::Duration;

#[cfg(any(feature = "k8s", feature = "local"))]
use sandbox_config::Settings;
#[cfg(any(feature = "k8s", feature = "local"))]
use sandbox_core::{Error, Result};
use sandbox_core::{Lifetime, Output, Resources};
use sandbox_egress::Egress;

/// Default values of a client, which individual calls can override.
///
/// ```
/// use std::time::Duration;
///
/// let mut defaults = sandbox::Defaults::default();
/// defaults.command_timeout = Some(Duration::from_secs(60));
/// assert_eq!(defaults.output_cap, 16 << 20);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Defaults {
    /// The container image, for backends with images.
    pub image: Option<String>,
    /// The resource limits.
    pub resources: Resources,
    /// When a sandbox ends.
    pub lifetime: Lifetime,
    /// What sandboxes may reach; `None` serves no way out.
    pub egress: Option<Egress>,
    /// Timeout of a creation, until SSH answers.
    pub create_timeout: Duration,
    /// Timeout of a new connection.
    pub connect_timeout: Duration,
    /// Timeout of a command; `None` means no limit.
    pub command_timeout: Option<Duration>,
    /// How many bytes of each output stream to keep in memory.
    pub output_cap: usize,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            image: None,
            resources: Resources::default(),
            lifetime: Lifetime::default(),
            egress: None,
            create_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(15),
            command_timeout: None,
            output_cap: Output::DEFAULT_CAP,
        }
    }
}

#[cfg(any(feature = "k8s", feature = "local"))]
impl Defaults {
    /// # Errors
    ///
    /// [`Error::Config`](crate::Error::Config) for a value that only this crate can read.
    pub(crate) fn from_settings(settings: &Settings) -> Result<Self> {
        let egress = settings.egress.as_deref().map(str::parse).transpose();
        let egress = egress.map_err(|error: Error| Error::Config {
            message: format!("SANDBOX_EGRESS: {error}"),
        })?;
        Ok(Self {
            egress,
            image: settings.image.clone(),
            resources: settings.resources,
            lifetime: settings.lifetime,
            create_timeout: settings.timeouts.create,
            connect_timeout: settings.timeouts.connect,
            command_timeout: settings.timeouts.command,
            output_cap: usize::try_from(settings.output_cap.as_bytes()).unwrap_or(usize::MAX),
        })
    }
}
