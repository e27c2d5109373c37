//! How requests to the ports of sandboxes are passed on.

use std::time::Duration;

/// How requests to the ports of sandboxes are passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviewConfig {
    /// Whether servers in sandboxes see the host that the client has asked for, `{port}-{id}.{domain}`. By default they
    /// see `localhost:{port}`, which development servers accept without settings of their own, and the other one as
    /// `X-Forwarded-Host`.
    pub keep_host: bool,
    /// How long a server in a sandbox may be silent before its response begins. Once it has begun, it may last for ever.
    pub response_timeout: Duration,
}

impl Default for PreviewConfig {
    fn default() -> Self {
        Self {
            keep_host: false,
            response_timeout: Duration::from_secs(300),
        }
    }
}
