//! How an SSH server gets into a Pod.

use std::str::FromStr;

use sandbox_core::{Error, Result};

/// How an SSH server gets into a Pod.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Injection {
    /// The image holds `sandbox-sshd` already. This is the fastest, because the Pod needs no volume.
    Baked {
        /// The path in the image.
        path: String,
    },
    /// `sandbox-sshd` is injected, from an image
    /// ([`KubernetesOptions::server_image`](super::KubernetesOptions::server_image)), which works with any image of
    /// a sandbox, or uploaded
    /// ([`KubernetesOptions::server_programs`](super::KubernetesOptions::server_programs)).
    Inject(InjectVia),
    /// The image sshd: the SSH server that the image brings itself.
    Image(ImageServer),
}

impl Injection {
    /// The path to which one `COPY` line in a Dockerfile copies the server.
    pub const BAKED_PATH: &str = "/usr/local/bin/sandbox-sshd";

    /// Returns the injection for a server at [`BAKED_PATH`](Self::BAKED_PATH).
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
            "upload" => Ok(Self::Inject(InjectVia::Upload)),
            "upload-volume" => Ok(Self::Inject(InjectVia::UploadVolume)),
            "baked" => Ok(Self::baked()),
            "image" => Ok(Self::Image(ImageServer::default())),
            _ => Err(Error::invalid(
                "injection",
                text,
                "use auto, image-volume, init-container, upload, upload-volume, baked or image",
            )),
        }
    }
}

/// The means by which the server is injected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InjectVia {
    /// The best that the cluster supports, which the client finds out; without a server image,
    /// [`Upload`](Self::Upload). Otherwise a manifest is built as with [`InitContainer`](Self::InitContainer), which
    /// every cluster supports.
    #[default]
    Auto,
    /// A volume with the server's image, mounted read-only.
    /// <https://kubernetes.io/docs/concepts/storage/volumes/#image>
    ImageVolume,
    /// An init container, which copies the server into an empty volume.
    InitContainer,
    /// The client sends the server through the API server into the container, which waits for it. No image with the
    /// server is needed, but the sandbox's image has to have a shell with the usual programs (`cat`, `chmod`, `env`,
    /// `head`, `mkdir`, `mv`, `rm`, `sleep`, `uname`, `wc`), and the client the permission for `pods/exec`.
    ///
    /// The server is written to the file system of the container: to `/.sandbox`, or a directory `.sandbox` of `/tmp`,
    /// `/var/tmp` or `/dev`, whichever can be written first. A Pod that has volumes anyway, or whose root file system
    /// is read-only, gets a volume for it, as with [`UploadVolume`](Self::UploadVolume).
    Upload,
    /// As [`Upload`](Self::Upload), but always into an empty volume at `/.sandbox`. A kubelet takes about 300 ms more
    /// to start a Pod with volumes.
    UploadVolume,
}

/// An SSH server that the image brings itself. It does not apply the SDK's lifetimes: only the hard end
/// holds, because Kubernetes enforces it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageServer {
    /// The login name.
    pub user: String,
    /// The port it listens on.
    pub port: u16,
    /// How the client key gets to it.
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

/// How the public client key gets to an image sshd.
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
    /// Returns the file that OpenSSH reads by default, if the user has the usual home directory.
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
