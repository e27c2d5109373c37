//! Names to addresses.

use std::fmt::Debug;
use std::io;
use std::net::IpAddr;

use async_trait::async_trait;

/// Resolves names. The proxy asks only about names that a rule allows, because a question alone can carry data out.
#[async_trait]
pub trait Resolve: Debug + Send + Sync + 'static {
    /// Returns the addresses of a name, in the order of preference. The name is in lower case, and has no dot at its end.
    ///
    /// # Errors
    ///
    /// If the name has no address, or if no server answers.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// Resolves names as other programs of this machine do (getaddrinfo(3)).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}
