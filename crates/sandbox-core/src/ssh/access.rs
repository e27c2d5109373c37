//! Keys and endpoint, to connect to a sandbox.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::{PrivateKey, PublicKey, SandboxId, Uid};

/// Everything needed to open a session. It contains a private key, so it can be neither printed nor
/// serialised.
///
/// ```
/// use sandbox_core::{Access, Endpoint, KeyPair, Uid};
///
/// # fn main() -> sandbox_core::Result<()> {
/// let access = Access {
///     id: "sbx-one".parse()?,
///     uid: Uid::generate()?,
///     user: "sandbox".to_owned(),
///     host_key: KeyPair::generate()?.public,
///     client_key: KeyPair::generate()?.private,
///     endpoint: Endpoint::Tcp(([127, 0, 0, 1], 2222).into()),
/// };
/// # Ok(())
/// # }
/// ```
pub struct Access {
    /// The sandbox, for messages.
    pub id: SandboxId,
    /// The instance. Connections are pooled by it, so a new instance never gets those of an old
    /// one.
    pub uid: Uid,
    /// The login name.
    pub user: String,
    /// The one host key to accept.
    pub host_key: PublicKey,
    /// The private key to authenticate with.
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
    /// A Pod, at its address or through the API server.
    Pod {
        /// The Pod's namespace.
        namespace: String,
        /// The Pod's name.
        name: String,
        /// The Pod's uid; another Pod of the same name does not match.
        uid: Uid,
        /// The port its SSH server listens on.
        port: u16,
    },
    /// A server in this process, which the connector knows by name: for tests.
    Memory(String),
}
