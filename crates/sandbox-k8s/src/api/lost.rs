//! Why a request has no response.

use std::error::Error as Cause;
use std::fmt;
use std::io;

use rustls::CertificateError;

/// A connection to the API server that could not be opened, or was lost, in plain words. The errors of kube, hyper
/// and rustls each wrap the next one and say little themselves, so only the innermost is kept.
#[derive(Debug)]
pub(crate) struct LostConnection {
    reason: String,
    is_untrusted: bool,
}

impl LostConnection {
    /// Whether the API server's certificate was refused, which a retry does not change.
    pub(crate) fn is_untrusted(&self) -> bool {
        self.is_untrusted
    }
}

impl fmt::Display for LostConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Cause for LostConnection {}

impl From<kube::Error> for LostConnection {
    fn from(error: kube::Error) -> Self {
        let innermost = find_innermost(&error);
        match find_tls_error(innermost) {
            Some(rustls::Error::InvalidCertificate(problem)) => Self {
                reason: format!(
                    "the API server's certificate is refused: {}",
                    describe_certificate(problem)
                ),
                is_untrusted: true,
            },
            _ => Self {
                reason: innermost.to_string(),
                is_untrusted: false,
            },
        }
    }
}

/// Returns the cause that has no further one.
pub(crate) fn find_innermost<'a>(
    mut error: &'a (dyn Cause + 'static),
) -> &'a (dyn Cause + 'static) {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error
}

/// Returns the error of rustls, which may be inside one or several of the standard library.
fn find_tls_error<'a>(mut error: &'a (dyn Cause + 'static)) -> Option<&'a rustls::Error> {
    while let Some(inner) = error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        error = inner;
    }
    error.downcast_ref()
}

fn describe_certificate(problem: &CertificateError) -> String {
    match problem {
        CertificateError::UnknownIssuer => "it was issued by an unknown authority".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another name than that of the server".to_owned()
        }
        // rustls gains problems with each version.
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An error that says nothing itself.
    #[derive(Debug)]
    struct Wrapper(io::Error);

    impl fmt::Display for Wrapper {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("client error (Connect)")
        }
    }

    impl Cause for Wrapper {
        fn source(&self) -> Option<&(dyn Cause + 'static)> {
            Some(&self.0)
        }
    }

    fn lost(inner: io::Error) -> LostConnection {
        kube::Error::Service(Box::new(Wrapper(inner))).into()
    }

    #[test]
    fn the_innermost_reason_is_kept() {
        let refused = lost(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(refused.to_string(), "connection refused");
        assert!(!refused.is_untrusted() && refused.source().is_none());
    }

    #[test]
    fn a_refused_certificate_is_described() {
        for (problem, expected) in [
            (CertificateError::UnknownIssuer, "unknown authority"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "not valid yet"),
            (CertificateError::NotValidForName, "another name"),
            (CertificateError::Revoked, "Revoked"),
        ] {
            let tls = rustls::Error::InvalidCertificate(problem);
            let nested = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls));
            let error = lost(nested);
            assert!(
                error.is_untrusted() && error.to_string().contains(expected),
                "{error}"
            );
        }
        assert!(!lost(io::Error::other(rustls::Error::DecryptError)).is_untrusted());
    }
}
