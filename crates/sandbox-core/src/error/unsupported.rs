//! What is not supported, and what to do instead.

use std::fmt;

use super::Error;

/// What is not supported, and what to do instead.
///
/// Its text is one sentence: `the local backend does not support the image alpine: it runs the
/// programs of this machine; remove the image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsupportedError {
    /// What was requested, as a noun phrase: `the image alpine`.
    pub operation: String,
    /// The backend, server or system that does not support it, as a noun phrase.
    pub by: String,
    /// Why it is not supported, as a clause, unless that is obvious.
    pub reason: Option<String>,
    /// What to do instead, in the imperative.
    pub hint: String,
}

impl std::error::Error for UnsupportedError {}

impl fmt::Display for UnsupportedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not support {}: ", self.by, self.operation)?;
        if let Some(reason) = &self.reason {
            write!(f, "{reason}; ")?;
        }
        f.write_str(&self.hint)
    }
}

impl From<UnsupportedError> for Error {
    fn from(error: UnsupportedError) -> Self {
        Self::Unsupported(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_precedes_the_hint() {
        let error = Error::unsupported("a ttl", "this backend", "use max_lifetime");
        assert_eq!(
            error.to_string(),
            "this backend does not support a ttl: use max_lifetime"
        );
        let error = Error::unsupported_because(
            "a ttl",
            "this backend",
            "it has no clock",
            "use max_lifetime",
        );
        assert_eq!(
            error.to_string(),
            "this backend does not support a ttl: it has no clock; use max_lifetime"
        );
    }
}
