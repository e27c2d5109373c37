//! The text forms of options, as settings have them.

use std::str::FromStr;

use sandbox_core::{Error, Result};

use super::{ImageServer, InjectVia, Injection, PullPolicy, SecurityProfile, Transport};

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

/// Parses the kind of injection. The details of `baked` and `image` get their defaults.
impl FromStr for Injection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Inject(InjectVia::Auto)),
            "image-volume" => Ok(Self::Inject(InjectVia::ImageVolume)),
            "init-container" => Ok(Self::Inject(InjectVia::InitContainer)),
            "baked" => Ok(Self::baked()),
            "image" => Ok(Self::Image(ImageServer::default())),
            _ => Err(Error::invalid(
                "injection",
                text,
                "use auto, image-volume, init-container, baked or image",
            )),
        }
    }
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
