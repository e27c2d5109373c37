//! What it takes to connect to a sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{PrivateKey, PublicKey, SandboxId, Uid};

/// Everything needed to open a session. It holds a private key, so it can be neither printed
/// nor serialised.
pub struct Access {
    /// The sandbox, for messages.
    pub id: SandboxId,
    /// The instance: connections are pooled by it, and a new instance never gets an old one's.
    pub uid: Uid,
    /// The login name.
    pub user: String,
    /// The one host key to accept.
    pub host_key: PublicKey,
    /// What to authenticate with.
    pub client_key: PrivateKey,
    /// Where the server is.
    pub endpoint: Endpoint,
}

/// Where an SSH server is, for a [`Connector`](crate::Connector) to open a stream to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A Unix socket; the path may be longer than the 108 bytes of `sockaddr_un`.
    Unix(PathBuf),
    /// A Pod, by its address or through the API server.
    Pod {
        /// The Pod's namespace.
        namespace: String,
        /// The Pod's name.
        name: String,
        /// The Pod's uid; another Pod of the same name is not meant.
        uid: Uid,
        /// The port its SSH server listens on.
        port: u16,
    },
    /// Something in this process, known to its connector by a name: for tests.
    Memory(String),
}
