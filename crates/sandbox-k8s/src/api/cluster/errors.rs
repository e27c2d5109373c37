//! Errors of kube, without secrets.
//!
//! The output of a credential program may be a token, and its arguments may be confidential. Neither is
//! repeated in a message, nor kept as a cause, because logs print causes.

use std::fmt;

use kube::client::AuthError;
use sandbox_core::Error;

/// There are no credentials, so the request was not sent.
#[derive(Debug)]
pub(crate) struct CredentialError(String);

impl CredentialError {
    /// The reason may repeat no secret.
    pub(super) fn new(reason: impl fmt::Display) -> Self {
        Self(format!("the cluster's credentials: {reason}"))
    }
}

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CredentialError {}

impl From<CredentialError> for Error {
    fn from(error: CredentialError) -> Self {
        Self::Config { message: error.0 }
    }
}

/// Removes what an error reveals about credentials. A client that a caller has built with kube gets its
/// credentials from kube, whose errors contain the output of a credential program.
pub(crate) fn redact_credentials(error: kube::Error) -> kube::Error {
    let error = match error {
        kube::Error::Auth(error) => error,
        kube::Error::Service(error) => match error.downcast::<AuthError>() {
            Ok(error) => *error,
            Err(error) => return kube::Error::Service(error),
        },
        error => return error,
    };
    kube::Error::Service(Box::new(describe_auth_error(&error)))
}

/// Returns what is wrong with the credentials, if the error is about them.
pub(crate) fn credential_error(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Service(error) => error
            .downcast_ref::<CredentialError>()
            .map(ToString::to_string),
        _ => None,
    }
}

fn describe_auth_error(error: &AuthError) -> CredentialError {
    CredentialError::new(match error {
        AuthError::AuthExecRun { out, .. } => {
            let hint = "run kubectl to see its message, or log in again";
            format!(
                "the credential program of the kubeconfig failed with {} ({hint})",
                out.status
            )
        }
        AuthError::AuthExecStart(error) => {
            format!("the credential program of the kubeconfig cannot be started: {error}")
        }
        AuthError::AuthExecParse(_)
        | AuthError::ParseTokenKey(_)
        | AuthError::ExecPluginFailed
        | AuthError::MalformedTokenExpirationDate(_)
        | AuthError::UnrefreshableTokenResponse => {
            "the credential program of the kubeconfig wrote no credentials".to_owned()
        }
        error => error.to_string(),
    })
}

/// The length of a text that a message repeats.
const MAX_REPEATED: usize = 300;

/// Returns text from a kubeconfig on one line, without control characters, and not too long.
pub(super) fn flatten(text: &str) -> String {
    let words: Vec<&str> = text
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_REPEATED) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Returns the first line of an error. kube repeats causes in the lines after it.
pub(super) fn first_line(error: &dyn std::error::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_one_line_without_control_characters() {
        assert_eq!(
            flatten("Install it:\n\n  brew install x\r\n\u{1b}[31mnow\u{7}"),
            "Install it: brew install x [31mnow"
        );
        assert_eq!(flatten(&"ä".repeat(1000)).chars().count(), 301);
    }
}
