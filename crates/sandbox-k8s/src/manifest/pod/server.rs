//! The SSH server that runs in a Pod, and its path.

use sandbox_core::{Error, Result};

use crate::manifest::options::{
    AuthorizedKey, ImageServer, InjectVia, Injection, KubernetesOptions,
};
use crate::names::PORT;

/// The directory of an injected server. No image has it, and no search path leads there.
pub(super) const DIRECTORY: &str = "/.sandbox";

/// The SSH server that runs in a Pod.
pub(super) enum Server<'a> {
    /// sandbox-sshd at a path in the sandbox, injected `from` an image unless it is baked.
    SandboxSshd {
        path: &'a str,
        from: Option<(InjectVia, &'a str)>,
    },
    /// The image sshd.
    ImageSshd(&'a ImageServer),
}

impl Server<'_> {
    pub(super) fn port(&self) -> u16 {
        match self {
            Self::SandboxSshd { .. } => PORT,
            Self::ImageSshd(own) => own.port,
        }
    }

    /// Returns the path of sandbox-sshd in the sandbox.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::SandboxSshd { path, .. } => Some(path),
            Self::ImageSshd(_) => None,
        }
    }
}

pub(super) fn select_server(options: &KubernetesOptions) -> Result<Server<'_>> {
    match &options.injection {
        Injection::Baked { path } if path.starts_with('/') => {
            Ok(Server::SandboxSshd { path, from: None })
        }
        Injection::Baked { path } => Err(Error::invalid(
            "path of the server in the image",
            path,
            "it must be absolute",
        )),
        Injection::Inject(via) => match options.server_image.as_deref() {
            Some(image) => Ok(Server::SandboxSshd {
                path: "/.sandbox/sandbox-sshd",
                from: Some((*via, image)),
            }),
            None => Err(Error::Config {
                message: NO_SERVER_IMAGE.into(),
            }),
        },
        Injection::Image(own) => {
            if let AuthorizedKey::File(path) = &own.authorized_key
                && !path.starts_with('/')
            {
                return Err(Error::invalid(
                    "path of the authorized key",
                    path,
                    "it must be absolute",
                ));
            }
            Ok(Server::ImageSshd(own))
        }
    }
}

const NO_SERVER_IMAGE: &str = "no image is set that holds the SSH server: build one with `cargo xtask image`, \
     push it to a registry that the cluster can reach, and name it in SANDBOX_SERVER_IMAGE";
