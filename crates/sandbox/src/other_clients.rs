//! For other SSH clients than ours: the keys of a sandbox, and a plain stream to its server.

use sandbox_core::{Access, ByteStream, Deadline, Error, Result, SandboxId};

use crate::Client;

impl Client {
    /// What it takes to log in to a sandbox with an SSH client of one's own: the user, its private
    /// key, and the one host key to accept. Nothing is connected to.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn access(&self, id: &SandboxId) -> Result<Access> {
        self.parts.backend.access(id).await
    }

    /// A byte stream to a sandbox's SSH server, as ssh_config(5)'s `ProxyCommand` gives: through the
    /// API server of its cluster where it is not reachable directly. What answers has proved
    /// nothing until the client at this end has checked [`Access::host_key`].
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) when it does not answer within the client's
    /// time for connections; [`Error::Unsupported`](crate::Error::Unsupported) for a client
    /// [of parts](Self::with_parts), which knows sessions only.
    pub async fn open_ssh_stream(&self, access: &Access) -> Result<Box<dyn ByteStream>> {
        let connector = self.parts.connector.as_ref().ok_or_else(|| {
            Error::unsupported(
                "a plain stream to the SSH server",
                "a client of parts of one's own",
                "connect with the connector that its sessions were made with",
            )
        })?;
        let deadline = Deadline::after(self.parts.defaults.connect_timeout);
        match connector.connect(&access.endpoint, deadline).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(self.parts.explain(&access.id, error).await),
        }
    }
}
