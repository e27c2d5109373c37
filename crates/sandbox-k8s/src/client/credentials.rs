//! Why there are no credentials. What the program that gives them has written may be a token, and
//! its arguments are nobody's business either: neither is repeated, nor kept as a cause, for some
//! log prints causes.

use kube::client::AuthError;
use kube::config::AuthInfo;

/// The program that the kubeconfig names for credentials, or the kind of them.
pub(super) fn program(auth: &AuthInfo) -> Option<String> {
    let provider = auth.auth_provider.as_ref();
    let of_provider = provider.map(|provider| provider.config.get("cmd-path").unwrap_or(&provider.name));
    of_provider.or(auth.exec.as_ref()?.command.as_ref()).cloned()
}

pub(crate) fn credentials(error: &AuthError) -> String {
    let why = match error {
        AuthError::AuthExecRun { out, .. } => {
            let advice = "run kubectl to see what it says, or log in again";
            format!("the program of the kubeconfig that gives them failed with {} ({advice})", out.status)
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
