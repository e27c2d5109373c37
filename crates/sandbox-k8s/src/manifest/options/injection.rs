//! How an SSH server gets into a Pod.

use std::str::FromStr;

use sandbox_core::{Error, Result};

/// How an SSH server gets into a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injection {
    /// The image holds `sandbox-sshd` already; the fastest way, for the Pod needs no volume.
    Baked {
        /// Where in the image.
        path: String,
    },
    /// `sandbox-sshd` is brought along from [`KubernetesOptions::server_image`](super::KubernetesOptions::server_image): any image.
    Inject(InjectVia),
    /// The image's own SSH server.
    Image(ImageServer),
}

impl Injection {
    /// Where one `COPY` line in a Dockerfile puts the server.
    pub const BAKED_PATH: &str = "/usr/local/bin/sandbox-sshd";

    /// In the image, at [`BAKED_PATH`](Self::BAKED_PATH).
    pub fn baked() -> Self {
        Self::Baked {
            path: Self::BAKED_PATH.into(),
        }
    }
}

impl Default for Injection {
    fn default() -> Self {
        Self::Inject(InjectVia::Auto)
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

/// By which means the server is brought along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectVia {
    /// Whichever the cluster can. A manifest is built as with
    /// [`InitContainer`](Self::InitContainer), which every cluster can; a client that found
    /// out better says so.
    #[default]
    Auto,
    /// The server's image, mounted read-only.
    /// <https://kubernetes.io/docs/concepts/storage/volumes/#image>
    ImageVolume,
    /// A first container copies the server into an empty volume.
    InitContainer,
}

/// An SSH server that the image brings. It does not know of the SDK's lifetimes: only the
/// hard one holds, for Kubernetes itself keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageServer {
    /// The login name.
    pub user: String,
    /// The port it listens on.
    pub port: u16,
    /// How it learns whom to let in.
    pub authorized_key: AuthorizedKey,
}

impl Default for ImageServer {
    fn default() -> Self {
        Self {
            user: "root".into(),
            port: 22,
            authorized_key: AuthorizedKey::default(),
        }
    }
}

/// How an image's own server learns the sandbox's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizedKey {
    /// In an environment variable that the image reads, such as `PUBLIC_KEY` of
    /// `linuxserver/openssh-server`.
    Env(String),
    /// As a file, such as `/root/.ssh/authorized_keys`. It belongs to root and cannot be
    /// written, which OpenSSH's `StrictModes` accepts.
    File(String),
}

impl AuthorizedKey {
    /// The file where OpenSSH looks by default, if the user has the usual home directory.
    pub fn for_user(user: &str) -> Self {
        match user {
            "root" => Self::default(),
            other => Self::File(format!("/home/{other}/.ssh/authorized_keys")),
        }
    }
}

impl Default for AuthorizedKey {
    fn default() -> Self {
        Self::File("/root/.ssh/authorized_keys".into())
    }
}
