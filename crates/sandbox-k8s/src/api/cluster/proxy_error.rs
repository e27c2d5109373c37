//! Why a proxy could not be used.

use std::fmt;

use http::Uri;
use tower::BoxError;

use crate::api::lost::find_innermost;

/// A proxy that cannot be connected to, or that opens no connection to the API server. It names the proxy, without
/// its password: otherwise the reason would be taken for one of the API server.
#[derive(Debug)]
pub(super) struct ProxyError {
    proxy: String,
    reason: String,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the proxy {}: {}", self.proxy, self.reason)
    }
}

impl std::error::Error for ProxyError {}

/// Returns a function that describes the errors of a connector through this proxy.
pub(super) fn describe_errors_of<E: Into<BoxError>>(
    proxy: &Uri,
) -> impl Fn(E) -> ProxyError + Clone + Send + Sync + 'static {
    let host = proxy.host().unwrap_or_default();
    let proxy = match proxy.port_u16() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    move |error| {
        let error: BoxError = error.into();
        ProxyError {
            proxy: proxy.clone(),
            reason: find_innermost(&*error).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_is_named_without_its_password() {
        let proxy = Uri::from_static("http://user:secret@proxy.example:3128");
        let inner = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = describe_errors_of(&proxy)(inner);
        assert_eq!(
            error.to_string(),
            "the proxy proxy.example:3128: connection refused"
        );
    }
}
