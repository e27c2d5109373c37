//! Why a call could not do its work: what the model reads.

use std::error::Error as _;
use std::fmt::Write;

use sandbox::{Error, Escaped};

/// What the library suggests, and the options by which an operator of the server does that.
const OPTION: (&str, &str) = (
    "with unverified_egress()",
    "with --egress-unverified of this server, or leave sandboxes that network with --egress-backend",
);

/// The longest message, in characters. Parts of it may come from a sandbox.
const MAX_CHARS: usize = 2000;

/// Why a call could not do its work. The exit code of a command is no failure, but data.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
}

impl Failure {
    /// Creates a failure with this message. What may come from a sandbox is escaped and shortened.
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        let message = Escaped::new(message.as_ref()).with_max_chars(MAX_CHARS);
        Self {
            message: message.to_string(),
        }
    }

    /// Adds what to do next.
    pub(crate) fn with_advice(self, advice: &str) -> Self {
        Self::new(format!("{}; {advice}", self.message))
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            if !message.contains(&cause_text) {
                // Writing to a string does not fail.
                let _written = write!(message, ": {cause_text}");
            }
            source = cause.source();
        }
        Self::new(message.replace(OPTION.0, OPTION.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_can_do_is_named_as_an_option() {
        let error = Error::unsupported("rules", "it", "accept that with unverified_egress()");
        let message = Failure::from(error).message;
        assert!(
            message.contains("accept that with --egress-unverified of"),
            "{message}"
        );
        assert!(!message.contains("unverified_egress()"), "{message}");
    }
}
