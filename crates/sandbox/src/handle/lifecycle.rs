//! Changes of a sandbox that exists: when it ends, and what is kept with it.

use std::collections::BTreeMap;
use std::time::Duration;

use sandbox_core::{Assignment, Result, SandboxInfo};

use super::Sandbox;

/// The shortest ttl that is sent to the sandbox's own server, so that its reply arrives before it ends.
const SHORTEST_TTL: Duration = Duration::from_secs(1);

impl Sandbox {
    /// Moves the end of the sandbox's `ttl` to `ttl` from now, at most to the end of its
    /// `max_lifetime`.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let info = sbx.extend(std::time::Duration::from_secs(3600)).await?;
    /// println!("ends at {:?}", info.expires_at);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has ended.
    pub async fn extend(&self, ttl: Duration) -> Result<SandboxInfo> {
        let info = self.inner.parts.backend.extend(self.id(), ttl).await?;
        if self.inner.parts.backend.capabilities().server_enforces_ttl {
            self.inner.session.extend(ttl).await?;
        }
        Ok(info)
    }

    /// Ends the sandbox `ttl` from now, in whole seconds: also earlier than it would have ended, and at most at the end
    /// of its `max_lifetime`. With a `ttl` of zero it ends as soon as its backend can: within about a second, as
    /// [`delete`](Self::delete) would end it but without waiting.
    ///
    /// A Pod with its image's own SSH server has its ends enforced by the cluster, which lets them only come sooner.
    ///
    /// If the future is dropped, it is not known whether the end was moved.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// // The sandbox may have had hours left.
    /// sbx.set_ttl(std::time::Duration::from_secs(60)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if it has ended, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) from a backend that cannot change it.
    pub async fn set_ttl(&self, ttl: Duration) -> Result<SandboxInfo> {
        let mut assignment = Assignment::default();
        assignment.ttl = Some(ttl);
        let info = self.assign(assignment).await?;
        if self.inner.parts.backend.capabilities().server_enforces_ttl {
            self.inner.session.start_ttl(ttl.max(SHORTEST_TTL)).await?;
        }
        Ok(info)
    }

    /// Sets annotations. They replace those with the same key, and all other annotations stay. The handle's
    /// [`info`](Self::info) is from before; the result has all annotations.
    ///
    /// If the future is dropped, it is not known whether they were set.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let info = sbx.annotate([("example.com/step", "2 of 3")]).await?;
    /// assert_eq!(info.annotations["example.com/step"], "2 of 3");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) for a key that no label could have, and if the sandbox would have more
    /// than [`MAX_ANNOTATIONS`](crate::MAX_ANNOTATIONS) bytes of them;
    /// [`Error::NotFound`](crate::Error::NotFound) if it has ended, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) from a backend that cannot change it.
    pub async fn annotate<K, V>(
        &self,
        annotations: impl IntoIterator<Item = (K, V)>,
    ) -> Result<SandboxInfo>
    where
        K: Into<String>,
        V: Into<String>,
    {
        let annotations: BTreeMap<_, _> = annotations
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let mut assignment = Assignment::default();
        assignment.annotations = annotations;
        assignment.validate()?;
        self.assign(assignment).await
    }

    pub(super) async fn assign(&self, assignment: Assignment) -> Result<SandboxInfo> {
        let inner = &self.inner;
        let backend = &inner.parts.backend;
        backend.assign(self.id(), self.uid(), assignment).await
    }
}
