//! The SSH server that runs in a Pod, and its path.

use sandbox_core::{Error, Result};

use crate::manifest::options::{
    AuthorizedKey, ImageServer, InjectVia, Injection, KubernetesOptions,
};
use crate::names::PORT;

/// The directory of an injected server. No image has it, and no search path leads there.
pub(super) const DIRECTORY: &str = "/.sandbox";
/// The directories that an uploaded server may be written to: the first that the container's user can write. A volume
/// for the server is mounted at the first. Others are for users without rights, and for a root file system that is
/// read-only without the SDK's knowledge.
pub(crate) const UPLOAD_DIRECTORIES: &str =
    "/.sandbox /tmp/.sandbox /var/tmp/.sandbox /dev/.sandbox";
/// The path of an injected server.
const PATH: &str = "/.sandbox/sandbox-sshd";

/// The SSH server that runs in a Pod.
pub(super) enum Server<'a> {
    /// sandbox-sshd at a path in the sandbox.
    SandboxSshd { path: &'a str, origin: Origin<'a> },
    /// The image sshd.
    ImageSshd(&'a ImageServer),
}

/// How sandbox-sshd gets to its path.
pub(super) enum Origin<'a> {
    /// The image has it.
    Baked,
    /// The server's image is mounted.
    ImageVolume(&'a str),
    /// An init container with the server's image copies it.
    InitContainer(&'a str),
    /// The client uploads it.
    Upload(Place),
}

/// Where an uploaded server is written to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The file system of the container, unless the Pod needs volumes anyway.
    Container,
    /// A volume.
    Volume,
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
        Injection::Baked { path } if path.starts_with('/') => Ok(Server::SandboxSshd {
            path,
            origin: Origin::Baked,
        }),
        Injection::Baked { path } => Err(Error::invalid(
            "path of the server in the image",
            path,
            "it must be absolute",
        )),
        Injection::Inject(via) => Ok(Server::SandboxSshd {
            path: PATH,
            origin: select_origin(*via, options)?,
        }),
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

/// Selects how the server is injected. Without its image, `Auto` uploads it.
fn select_origin(via: InjectVia, options: &KubernetesOptions) -> Result<Origin<'_>> {
    let config_error = |message: &str| Error::Config {
        message: message.to_owned(),
    };
    let has_program = !options.server_programs.is_empty();
    match (via, options.server_image.as_deref()) {
        (InjectVia::ImageVolume, Some(image)) => Ok(Origin::ImageVolume(image)),
        (InjectVia::InitContainer | InjectVia::Auto, Some(image)) => {
            Ok(Origin::InitContainer(image))
        }
        (InjectVia::Upload, _) | (InjectVia::Auto, None) if has_program => {
            Ok(Origin::Upload(Place::Container))
        }
        (InjectVia::UploadVolume, _) if has_program => Ok(Origin::Upload(Place::Volume)),
        (InjectVia::Auto, None) => Err(config_error(NO_SERVER)),
        (InjectVia::Upload | InjectVia::UploadVolume, _) => Err(config_error(NO_PROGRAM)),
        (InjectVia::ImageVolume | InjectVia::InitContainer, None) => {
            Err(config_error(NO_SERVER_IMAGE))
        }
    }
}

/// Whether a client with these options uploads the server.
pub(crate) fn uploads_server(options: &KubernetesOptions) -> bool {
    matches!(
        select_server(options),
        Ok(Server::SandboxSshd {
            origin: Origin::Upload(_),
            ..
        })
    )
}

/// The ways to get the server into a Pod without an upload.
pub(crate) const OTHER_WAYS: &str = "name an image that holds the SSH server in SANDBOX_SERVER_IMAGE \
     (SANDBOX_INJECTION=image-volume or init-container), or use an image that has it already \
     (SANDBOX_INJECTION=baked)";
const NO_SERVER: &str = "there is no SSH server for the Pod: name a static sandbox-sshd in SANDBOX_SERVER_PATH, which \
     is uploaded, or an image that holds it in SANDBOX_SERVER_IMAGE (`cargo xtask image` builds both), or use an image \
     that has it already (SANDBOX_INJECTION=baked)";
const NO_PROGRAM: &str = "there is no SSH server to upload: name a static sandbox-sshd in SANDBOX_SERVER_PATH (`cargo \
     xtask image` builds one), or choose another SANDBOX_INJECTION: image-volume or init-container with an image that \
     holds it (SANDBOX_SERVER_IMAGE), or baked";
const NO_SERVER_IMAGE: &str = "no image is set that holds the SSH server: build one with `cargo xtask image`, \
     push it to a registry that the cluster can reach, and name it in SANDBOX_SERVER_IMAGE";
