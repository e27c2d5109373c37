//! Options with a few named values.

use std::str::FromStr;

use k8s_openapi::api::core::v1::{PodSecurityContext, SecurityContext};
use sandbox_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// When an image is pulled.
/// <https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// If the node does not have it.
    IfNotPresent,
    /// Never; the node must have it.
    Never,
}

impl PullPolicy {
    /// Returns the name of Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

impl FromStr for PullPolicy {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "Always" => Ok(Self::Always),
            "IfNotPresent" => Ok(Self::IfNotPresent),
            "Never" => Ok(Self::Never),
            _ => Err(Error::invalid(
                "image pull policy",
                text,
                "use Always, IfNotPresent or Never",
            )),
        }
    }
}

/// What the processes of a Pod may do, by the names of the Pod Security Standards.
/// The Pod is checked against the standard, including the raw patch.
/// <https://kubernetes.io/docs/concepts/security/pod-security-standards/>
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum SecurityProfile {
    /// Not root, no new privileges, no capabilities, the runtime's seccomp filter.
    #[default]
    Restricted,
    /// The image's user, root as well, with the runtime's capabilities and seccomp filter.
    Baseline,
    /// Exactly these security contexts.
    Custom {
        /// The security context of the Pod.
        pod: Box<PodSecurityContext>,
        /// The security context of each of its containers.
        container: Box<SecurityContext>,
    },
}

/// Parses the profiles that are standards; `Custom` has no text form.
impl FromStr for SecurityProfile {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "restricted" => Ok(Self::Restricted),
            "baseline" => Ok(Self::Baseline),
            _ => Err(Error::invalid(
                "security profile",
                text,
                "use restricted or baseline",
            )),
        }
    }
}

/// How connections get to a Pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transport {
    /// The faster of the two.
    #[default]
    Auto,
    /// To the Pod's address.
    Direct,
    /// Through the API server.
    PortForward,
}

impl Transport {
    /// Returns the name of the transport.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Direct => "direct",
            Self::PortForward => "port-forward",
        }
    }
}

impl FromStr for Transport {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "direct" => Ok(Self::Direct),
            "port-forward" => Ok(Self::PortForward),
            _ => Err(Error::invalid(
                "transport",
                text,
                "use auto, direct or port-forward",
            )),
        }
    }
}
