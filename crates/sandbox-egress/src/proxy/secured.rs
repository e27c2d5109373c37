//! Servers that the proxy itself speaks TLS with, because it adds credentials.

use std::io;
use std::sync::Arc;

use crate::Upstream;
use crate::intercept::InterceptedHost;
use crate::upstream::ServedUpstream;

/// A server that the proxy speaks TLS with.
#[derive(Debug, Clone)]
pub(super) enum Secured {
    /// It is asked for by the name of an upstream, and needs no rule.
    Upstream(Arc<ServedUpstream>),
    /// It is asked for by its own name, and is intercepted.
    Host(Arc<InterceptedHost>),
}

impl Secured {
    /// Speaks TLS on a connection to it.
    ///
    /// # Errors
    ///
    /// If the handshake fails, or if the certificate is for another host.
    pub(super) async fn secure(&self, stream: Box<dyn Upstream>) -> io::Result<Box<dyn Upstream>> {
        match self {
            Self::Upstream(upstream) => upstream.secure(stream).await,
            Self::Host(host) => host.secure(stream).await,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Upstream(own), Self::Upstream(other)) => Arc::ptr_eq(own, other),
            (Self::Host(own), Self::Host(other)) => Arc::ptr_eq(own, other),
            (Self::Upstream(_), Self::Host(_)) | (Self::Host(_), Self::Upstream(_)) => false,
        }
    }
}
