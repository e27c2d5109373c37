//! When a new sandbox ends.

use std::time::Duration;

use sandbox_core::OnExpiry;

use super::builder::SandboxBuilder;

/// When it ends.
impl SandboxBuilder {
    /// Ends the sandbox this long after its server has started. [`Sandbox::extend`](crate::Sandbox::extend)
    /// postpones that. If initial commands or the proof of egress rules take a while after that start, the time counts from
    /// when [`create`](Self::create) returns, except with an image's own SSH server.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.spec.lifetime.ttl = Some(ttl);
        self
    }

    /// Sets what happens at the end of the `ttl`: by default the sandbox ends. With
    /// [`OnExpiry::Pause`](crate::OnExpiry::Pause) its server [pauses](crate::Sandbox::pause) it, and it ends at the end
    /// of its `max_lifetime` unless it is [resumed](crate::Sandbox::resume) before.
    ///
    /// An image's own SSH server cannot do this: the creation returns
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// use sandbox::OnExpiry;
    ///
    /// let notebook = client.sandbox().detached().ttl(Duration::from_secs(600)).on_expiry(OnExpiry::Pause).create().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn on_expiry(mut self, on_expiry: OnExpiry) -> Self {
        self.spec.lifetime.on_expiry = on_expiry;
        self
    }

    /// Ends the sandbox this long after its creation. This cannot be extended. The default is 24
    /// hours.
    pub fn max_lifetime(mut self, max: Duration) -> Self {
        self.spec.lifetime.max_lifetime = max;
        self
    }

    /// Ends the sandbox after this long without use.
    ///
    /// These count as use for as long as they last: a running command, a running job, a connection
    /// to a forwarded port, and an open SFTP session, which this client closes about a minute after
    /// the last transfer. Each request counts at its moment. A client that only connects, or stays
    /// connected, does not count: so this also ends an *attached* sandbox whose handle is not used.
    ///
    /// An image's own SSH server cannot do this: the creation returns
    /// [`Error::Unsupported`](crate::Error::Unsupported).
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.spec.lifetime.idle_timeout = Some(idle);
        self
    }

    /// Lets the sandbox outlive this program, until it is deleted or its lifetime ends.
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let id = client.sandbox().detached().create().await?.id().clone();
    /// // Later, in any process:
    /// let sbx = client.connect(&id).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn detached(mut self) -> Self {
        self.spec.lifetime.attach_timeout = None;
        self
    }

    /// Sets the timeout of the creation, until SSH answers. The default is 5 minutes.
    pub fn create_timeout(mut self, timeout: Duration) -> Self {
        self.create_timeout = timeout;
        self
    }
}
