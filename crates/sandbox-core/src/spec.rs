//! What a sandbox shall be.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{BackendOptions, ByteSize, Cpu, Error, Result, SandboxId};

/// What to provision. Nothing personal stands in it, no environment and no secret: those go
/// in over SSH once the sandbox is reachable, so that any waiting sandbox can serve.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SandboxSpec {
    /// The id; generated when there is none.
    pub id: Option<SandboxId>,
    /// Container image, such as `python:3.12-slim`. A backend without images refuses one.
    pub image: Option<String>,
    /// Limits over the whole sandbox. One that cannot be applied is refused, never ignored.
    pub resources: Resources,
    /// Free labels to find the sandbox by. Prefixes under [`RESERVED_LABEL_DOMAIN`] are refused.
    pub labels: BTreeMap<String, String>,
    /// How and when it ends.
    pub lifetime: Lifetime,
    /// What is asked of one kind of backend alone. Others refuse it.
    pub backend_options: BackendOptions,
}

/// Labels under this domain are the SDK's own.
pub const RESERVED_LABEL_DOMAIN: &str = "sandbox.dev";

/// Limits; `None` leaves a limit to the backend's settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Resources {
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Memory, without swap.
    pub memory: Option<ByteSize>,
    /// Bytes that may be written to the sandbox's own disk.
    pub disk: Option<ByteSize>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// When a sandbox ends by itself. The earliest limit wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lifetime {
    /// Soft end, counted from the creation; can be put off up to `max_lifetime`.
    pub ttl: Option<Duration>,
    /// Hard end, counted from the creation.
    pub max_lifetime: Duration,
    /// Ends when nothing was asked of it for so long.
    pub idle_timeout: Option<Duration>,
    /// Ends when no authenticated client has been connected for so long: an *attached*
    /// sandbox, which does not outlive its maker. `None` is *detached*.
    pub attach_timeout: Option<Duration>,
}

impl Lifetime {
    /// 24 hours: every sandbox ends by itself.
    pub const DEFAULT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
    /// 60 seconds without a client end an attached sandbox.
    pub const DEFAULT_ATTACH: Duration = Duration::from_secs(60);

    /// The first end that is already fixed at the creation.
    pub fn first_end(&self) -> Duration {
        self.ttl.map_or(self.max_lifetime, |ttl| ttl.min(self.max_lifetime))
    }
}

/// Attached, ending at the latest after [`DEFAULT_MAX`](Lifetime::DEFAULT_MAX).
impl Default for Lifetime {
    fn default() -> Self {
        Self {
            ttl: None,
            max_lifetime: Self::DEFAULT_MAX,
            idle_timeout: None,
            attach_timeout: Some(Self::DEFAULT_ATTACH),
        }
    }
}

impl SandboxSpec {
    /// Checks what can be checked without asking anybody.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the value that is wrong.
    pub fn validate(&self) -> Result<()> {
        let limits = &self.lifetime;
        for (name, limit) in [
            ("ttl", limits.ttl),
            ("max_lifetime", Some(limits.max_lifetime)),
            ("idle_timeout", limits.idle_timeout),
            ("attach_timeout", limits.attach_timeout),
        ] {
            if limit.is_some_and(|limit| limit < Duration::from_secs(1)) {
                return Err(Error::invalid(name, "0s", "it must be at least one second"));
            }
        }
        if let Some(ttl) = limits.ttl.filter(|ttl| *ttl > limits.max_lifetime) {
            return Err(Error::invalid("ttl", format!("{ttl:?}"), "it exceeds max_lifetime"));
        }
        if self.resources.pids == Some(0) {
            return Err(Error::invalid("pids", "0", "a sandbox needs at least one process"));
        }
        if let Some(image) = self.image.as_deref().filter(|image| !plausible_image(image)) {
            return Err(Error::invalid(
                "image",
                image,
                "use a reference such as python:3.12-slim or registry/name:tag",
            ));
        }
        self.labels.iter().try_for_each(|(key, value)| check_label(key, value))
    }
}

/// Kubernetes' rules for label keys and values, for every backend, so that what works on a
/// laptop works on a cluster.
/// <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>
fn check_label(key: &str, value: &str) -> Result<()> {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let reserved = |prefix: &str| {
        prefix.strip_suffix(RESERVED_LABEL_DOMAIN).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            || prefix == "kubernetes.io"
            || prefix.ends_with(".kubernetes.io")
            || prefix.ends_with("k8s.io")
    };
    if prefix.is_some_and(reserved) {
        return Err(Error::invalid("label", key, "this prefix is reserved; choose another"));
    }
    let prefix_ok = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.split('.').all(|part| {
                is_word(part)
                    && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            })
    });
    if !prefix_ok || !is_word(name) {
        return Err(Error::invalid(
            "label",
            key,
            "a key has at most 63 letters, digits, '-', '_' or '.', begins and ends with a letter or digit, and may have a DNS prefix and '/'",
        ));
    }
    if !value.is_empty() && !is_word(value) {
        return Err(Error::invalid(
            "value of a label",
            format!("{key}={value}"),
            "a value has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
        ));
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    let alphanumeric = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    text.len() <= 63
        && alphanumeric(text.bytes().next())
        && alphanumeric(text.bytes().last())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn plausible_image(image: &str) -> bool {
    !image.is_empty()
        && image.len() <= 512
        && image.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:@".contains(&b))
        && image.starts_with(|c: char| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_attached_and_ends() {
        let spec = SandboxSpec::default();
        spec.validate().unwrap();
        assert_eq!(spec.lifetime.attach_timeout, Some(Lifetime::DEFAULT_ATTACH));
        assert_eq!(spec.lifetime.first_end(), Lifetime::DEFAULT_MAX);
    }

    #[test]
    fn each_wrong_value_is_named() {
        let change = |change: &dyn Fn(&mut SandboxSpec)| {
            let mut spec = SandboxSpec::default();
            change(&mut spec);
            spec.validate().unwrap_err().to_string()
        };
        assert!(change(&|s| s.lifetime.ttl = Some(Duration::ZERO)).contains("ttl"));
        assert!(change(&|s| s.lifetime.ttl = Some(Lifetime::DEFAULT_MAX * 2)).contains("max_lifetime"));
        assert!(change(&|s| s.resources.pids = Some(0)).contains("pids"));
        assert!(change(&|s| s.image = Some("bad image".into())).contains("bad image"));
        for key in ["sandbox.dev/x", "a.sandbox.dev/x", "app.kubernetes.io/name", "k8s.io/a"] {
            assert!(change(&|s| _ = s.labels.insert(key.into(), "v".into())).contains("reserved"), "{key}");
        }
        for key in ["", "-a", "a b", "A.b/c", "/x", "a/", &"x".repeat(64)] {
            assert!(change(&|s| _ = s.labels.insert(key.into(), "v".into())).contains("key"), "{key}");
        }
        assert!(change(&|s| _ = s.labels.insert("team".into(), "a b".into())).contains("team=a b"));
    }

    #[test]
    fn usual_labels_pass() {
        let mut spec = SandboxSpec::default();
        for (key, value) in
            [("team", "ml"), ("example.com/run", "42"), ("a.b_c-d", ""), ("notsandbox.dev/x", "y")]
        {
            spec.labels.insert(key.into(), value.into());
        }
        spec.validate().unwrap();
    }
}
