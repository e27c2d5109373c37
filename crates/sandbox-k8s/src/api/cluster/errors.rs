//! Why there are no credentials. What the program that gives them has written may be a token, and
//! its arguments are nobody's business either: neither is repeated, nor kept as a cause, for some
//! log prints causes.

use std::fmt;

use kube::client::AuthError;
use kube::config::AuthInfo;

/// There are none, and so nothing was sent.
#[derive(Debug)]
pub(crate) struct CredentialError(String);

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CredentialError {}

/// The same error, without what it would tell of credentials. Those that cannot be renewed come
/// as an error of some layer of the client's.
pub(crate) fn redact_credentials(error: kube::Error) -> kube::Error {
    let error = match error {
        kube::Error::Auth(error) => error,
        kube::Error::Service(error) => match error.downcast::<AuthError>() {
            Ok(error) => *error,
            Err(error) => return kube::Error::Service(error),
        },
        error => return error,
    };
    kube::Error::Service(Box::new(CredentialError(credentials(&error))))
}

/// What is wrong with the credentials, where it is that.
pub(crate) fn credential_error(error: &kube::Error) -> Option<String> {
    match error {
        kube::Error::Service(error) => error
            .downcast_ref::<CredentialError>()
            .map(ToString::to_string),
        _ => None,
    }
}

/// The program that the kubeconfig names for credentials, or the kind of them.
pub(super) fn program(auth: &AuthInfo) -> Option<String> {
    let provider = auth.auth_provider.as_ref();
    let of_provider =
        provider.map(|provider| provider.config.get("cmd-path").unwrap_or(&provider.name));
    of_provider
        .or(auth.exec.as_ref()?.command.as_ref())
        .cloned()
}

pub(super) fn credentials(error: &AuthError) -> String {
    let why = match error {
        AuthError::AuthExecRun { out, .. } => {
            let advice = "run kubectl to see what it says, or log in again";
            format!(
                "the program of the kubeconfig that gives them failed with {} ({advice})",
                out.status
            )
        }
        AuthError::AuthExecStart(error) => {
            format!("the program of the kubeconfig that gives them cannot be started: {error}")
        }
        AuthError::AuthExecParse(_)
        | AuthError::ParseTokenKey(_)
        | AuthError::ExecPluginFailed
        | AuthError::MalformedTokenExpirationDate(_)
        | AuthError::UnrefreshableTokenResponse => {
            "the program of the kubeconfig that gives them wrote something else".to_owned()
        }
        error => error.to_string(),
    };
    format!("the cluster's credentials: {why}")
}

/// kube repeats causes in its sentences: the first line is enough.
pub(super) fn first_line(error: &dyn std::error::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}
