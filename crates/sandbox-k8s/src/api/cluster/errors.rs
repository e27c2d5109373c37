//! Errors of kube, without secrets.
//!
//! The output of a credential program may be a token, and its arguments may be confidential. Neither is
//! repeated in a message, nor kept as a cause, because logs print causes.

use std::fmt;

use kube::client::AuthError;
use kube::config::AuthInfo;

/// There are no credentials, so the request was not sent.
#[derive(Debug)]
pub(crate) struct CredentialError(String);

impl fmt::Display for CredentialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CredentialError {}

/// Removes what an error reveals about credentials. If credentials cannot be renewed, the error comes from
/// a layer of the client.
pub(crate) fn redact_credentials(error: kube::Error) -> kube::Error {
    let error = match error {
        kube::Error::Auth(error) => error,
        kube::Error::Service(error) => match error.downcast::<AuthError>() {
            Ok(error) => *error,
            Err(error) => return kube::Error::Service(error),
        },
        error => return error,
    };
    kube::Error::Service(Box::new(CredentialError(describe_auth_error(&error))))
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

/// Returns the credential program of the kubeconfig, or the name of its auth provider.
pub(super) fn credential_program(auth: &AuthInfo) -> Option<String> {
    let provider = auth.auth_provider.as_ref();
    let provider =
        provider.map(|provider| provider.config.get("cmd-path").unwrap_or(&provider.name));
    provider.or(auth.exec.as_ref()?.command.as_ref()).cloned()
}

pub(super) fn describe_auth_error(error: &AuthError) -> String {
    let why = match error {
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
    };
    format!("the cluster's credentials: {why}")
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
