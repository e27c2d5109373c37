//! The specification of a sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metadata::{check_annotations, check_label};
use crate::guest::OnExpiry;
use crate::{BackendOptions, ByteSize, Cpu, Error, PoolName, Result, SandboxId};

/// The specification of a sandbox. It contains nothing specific to the user, no environment and no
/// secrets: those are sent over SSH once the sandbox is reachable, so that a sandbox from a pool
/// could be used instead.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::SandboxSpec;
///
/// # fn main() -> sandbox_core::Result<()> {
/// let mut spec = SandboxSpec::default();
/// spec.image = Some("python:3.12-slim".to_owned());
/// spec.resources.memory = Some("512Mi".parse()?);
/// spec.lifetime.ttl = Some(Duration::from_secs(1800));
/// spec.validate()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// The id; generated if `None`.
    pub id: Option<SandboxId>,
    /// The container image, such as `python:3.12-slim`. A backend without images refuses one.
    pub image: Option<String>,
    /// Limits for the whole sandbox. A limit that cannot be applied is refused, never ignored.
    pub resources: Resources,
    /// Labels to find the sandbox by. Prefixes under [`RESERVED_LABEL_DOMAIN`](crate::RESERVED_LABEL_DOMAIN) are refused.
    pub labels: BTreeMap<String, String>,
    /// Facts to keep with the sandbox, which do not select: keys as those of labels, any text as value, at most
    /// [`MAX_ANNOTATIONS`](crate::MAX_ANNOTATIONS) bytes in all.
    pub annotations: BTreeMap<String, String>,
    /// When it ends.
    pub lifetime: Lifetime,
    /// Whether a sandbox that a backend has no room for at the moment is held until there is, however long that takes,
    /// and not failed after a grace of the backend. The caller deletes one that it does not want to wait for any
    /// longer.
    pub waits_for_room: bool,
    /// Whether the sandbox is to have no network but its own loopback. A backend whose sandboxes never have another one
    /// ignores it; another one refuses it unless it has
    /// [`Capabilities::network_isolation`](crate::Capabilities::network_isolation).
    pub is_offline: bool,
    /// Options that only one kind of backend has. Others refuse them.
    pub backend_options: BackendOptions,
    /// The shared pool to create it for. It then fills, and can be claimed once it is
    /// [offered](crate::SharedPools::offer). A backend without shared pools refuses it.
    pub pool: Option<PoolName>,
}

/// Resource limits. `None` leaves a limit to the backend's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resources {
    /// CPU time.
    pub cpu: Option<Cpu>,
    /// Memory, without swap.
    pub memory: Option<ByteSize>,
    /// Bytes that may be written to the sandbox's own disk.
    pub disk: Option<ByteSize>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// When a sandbox ends by itself: at the earliest of these limits.
///
/// ```
/// use sandbox_core::Lifetime;
///
/// let lifetime = Lifetime::default();
/// assert_eq!(lifetime.first_end(), Lifetime::DEFAULT_MAX);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lifetime {
    /// Ends it this long after its creation. Can be extended up to `max_lifetime`.
    pub ttl: Option<Duration>,
    /// What happens at the end of the `ttl`. A sandbox that is paused then still ends at the end of its `max_lifetime`.
    #[serde(default)]
    pub on_expiry: OnExpiry,
    /// Ends it this long after its creation. Cannot be extended.
    pub max_lifetime: Duration,
    /// Ends it after this long without use: no command, job, file transfer or forwarded
    /// connection, and no request. A client that only connects, or stays connected, does not
    /// count.
    pub idle_timeout: Option<Duration>,
    /// Ends it after this long without an authenticated client: an *attached* sandbox, which does
    /// not outlive the program that created it. `None` means *detached*.
    pub attach_timeout: Option<Duration>,
    /// Ends it if no client has authenticated this long after its creation: the program that created
    /// it was killed before it could use or delete the sandbox. `None` waits for a client until one
    /// of the other ends. The facade sets it to the timeout of the creation.
    pub first_login_timeout: Option<Duration>,
}

impl Lifetime {
    /// The default of `max_lifetime`: 24 hours.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
    /// The default of `attach_timeout`: 60 seconds.
    pub const DEFAULT_ATTACH: Duration = Duration::from_secs(60);

    /// Returns the time from the creation to the first of the ends that are fixed at the creation.
    pub fn first_end(&self) -> Duration {
        self.ttl
            .map_or(self.max_lifetime, |ttl| ttl.min(self.max_lifetime))
    }
}

/// Attached, and ending at the latest after [`DEFAULT_MAX`](Lifetime::DEFAULT_MAX).
impl Default for Lifetime {
    fn default() -> Self {
        Self {
            ttl: None,
            on_expiry: OnExpiry::End,
            max_lifetime: Self::DEFAULT_MAX,
            idle_timeout: None,
            attach_timeout: Some(Self::DEFAULT_ATTACH),
            first_login_timeout: None,
        }
    }
}

impl SandboxSpec {
    /// Checks everything that can be checked without a request.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the invalid value.
    pub fn validate(&self) -> Result<()> {
        let limits = &self.lifetime;
        for (name, limit) in [
            ("ttl", limits.ttl),
            ("max_lifetime", Some(limits.max_lifetime)),
            ("idle_timeout", limits.idle_timeout),
            ("attach_timeout", limits.attach_timeout),
            ("first_login_timeout", limits.first_login_timeout),
        ] {
            if let Some(limit) = limit.filter(|limit| *limit < Duration::from_secs(1)) {
                let value = format!("{limit:?}");
                return Err(Error::invalid(
                    name,
                    value,
                    "it must be at least one second",
                ));
            }
        }
        if let Some(ttl) = limits.ttl.filter(|ttl| *ttl > limits.max_lifetime) {
            let reason = format!(
                "it exceeds max_lifetime ({:?}); shorten it, or raise max_lifetime",
                limits.max_lifetime
            );
            return Err(Error::invalid("ttl", format!("{ttl:?}"), reason));
        }
        if self.resources.pids == Some(0) {
            return Err(Error::invalid(
                "pids",
                "0",
                "a sandbox needs at least one process",
            ));
        }
        if let Some(image) = self
            .image
            .as_deref()
            .filter(|image| !is_plausible_image(image))
        {
            return Err(Error::invalid(
                "image",
                image,
                "use a reference such as python:3.12-slim or registry/name:tag",
            ));
        }
        self.labels
            .iter()
            .try_for_each(|(key, value)| check_label(key, value))?;
        check_annotations(&self.annotations)
    }
}

fn is_plausible_image(image: &str) -> bool {
    !image.is_empty()
        && image.len() <= 512
        && image
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b))
        && image.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_attached() {
        let spec = SandboxSpec::default();
        spec.validate().unwrap();
        assert_eq!(spec.lifetime.attach_timeout, Some(Lifetime::DEFAULT_ATTACH));
        assert_eq!(spec.lifetime.first_end(), Lifetime::DEFAULT_MAX);
    }

    #[test]
    fn each_invalid_value_is_named() {
        let error_after = |change: &dyn Fn(&mut SandboxSpec)| {
            let mut spec = SandboxSpec::default();
            change(&mut spec);
            spec.validate().unwrap_err().to_string()
        };
        assert!(error_after(&|s| s.lifetime.ttl = Some(Duration::ZERO)).contains("ttl \"0ns\""));
        let half = Some(Duration::from_millis(500));
        assert!(
            error_after(&|s| s.lifetime.idle_timeout = half).contains("idle_timeout \"500ms\"")
        );
        assert!(
            error_after(&|s| s.lifetime.ttl = Some(Lifetime::DEFAULT_MAX * 2))
                .contains("max_lifetime")
        );
        assert!(error_after(&|s| s.resources.pids = Some(0)).contains("pids"));
        assert!(error_after(&|s| s.image = Some("bad image".into())).contains("bad image"));
        for key in [
            "sandbox.dev/x",
            "a.sandbox.dev/x",
            "app.kubernetes.io/name",
            "k8s.io/a",
        ] {
            assert!(
                error_after(&|s| _ = s.labels.insert(key.into(), "v".into())).contains("reserved"),
                "{key}"
            );
        }
        for key in ["", "-a", "a b", "A.b/c", "/x", "a/", &"x".repeat(64)] {
            assert!(
                error_after(&|s| _ = s.labels.insert(key.into(), "v".into())).contains("key"),
                "{key}"
            );
        }
        assert!(
            error_after(&|s| _ = s.labels.insert("team".into(), "a b".into())).contains("team=a b")
        );
    }

    #[test]
    fn usual_labels_are_accepted() {
        let mut spec = SandboxSpec::default();
        for (key, value) in [
            ("team", "ml"),
            ("example.com/run", "42"),
            ("a.b_c-d", ""),
            ("notsandbox.dev/x", "y"),
        ] {
            spec.labels.insert(key.into(), value.into());
        }
        spec.validate().unwrap();
    }
}
