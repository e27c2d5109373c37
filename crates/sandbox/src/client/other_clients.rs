//! For other SSH clients: the keys of a sandbox, and a plain stream to its server.

use sandbox_core::{Access, ByteStream, Deadline, Error, Result, SandboxId};

use super::Client;
use crate::diagnosis::add_diagnosis;

impl Client {
    /// Returns what another SSH client needs to log in to a sandbox: the user, its private key, and
    /// the host key to accept. It does not connect.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client, id: sandbox::SandboxId) -> sandbox::Result<()> {
    /// let access = client.access(&id).await?;
    /// println!("user {}, host key {}", access.user, access.host_key.fingerprint()?);
    /// let stream = client.open_ssh_stream(&access).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if there is no such sandbox.
    pub async fn access(&self, id: &SandboxId) -> Result<Access> {
        self.parts.backend.access(id).await
    }

    /// Opens a byte stream to a sandbox's SSH server, as for `ProxyCommand` of ssh_config(5). It
    /// goes through the API server of the cluster if the sandbox is not reachable directly. The
    /// server is not authenticated until your client has checked [`Access::host_key`].
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) if it does not answer within the connect
    /// timeout; [`Error::Unsupported`](crate::Error::Unsupported) for a client created by
    /// [`with_parts`](Self::with_parts), which has no connector.
    pub async fn open_ssh_stream(&self, access: &Access) -> Result<Box<dyn ByteStream>> {
        let connector = self.parts.connector.as_ref().ok_or_else(|| {
            Error::unsupported_because(
                "plain streams to an SSH server",
                "a client created by Client::with_parts",
                "it has no connector",
                "use the connector of its session source",
            )
        })?;
        let deadline = Deadline::from_now(self.parts.defaults.connect_timeout);
        match connector.connect(&access.endpoint, deadline).await {
            Ok(stream) => Ok(stream),
            Err(error) => Err(add_diagnosis(&*self.parts.backend, &access.id, error).await),
        }
    }
}
