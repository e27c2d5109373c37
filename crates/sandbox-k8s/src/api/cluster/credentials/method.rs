//! Which of the credentials in a kubeconfig are used.

use http::HeaderValue;
use kube::config::AuthInfo;
use secrecy::ExposeSecret;

use super::header::{basic_header, bearer_header};
use super::program::CredentialProgram;
use super::provider::read_provider_token;
use super::renewal::RenewedCredentials;
use super::token_file::TokenFile;
use crate::api::cluster::errors::CredentialError;

/// Where the `Authorization` of a request comes from.
pub(super) enum Method {
    /// There is none; a client certificate may still say who asks.
    Anonymous,
    Fixed(HeaderValue),
    File(TokenFile),
    Program(RenewedCredentials),
}

impl Method {
    /// Selects as client-go: a credential program is used only if there is nothing else.
    pub(super) fn read(auth: &AuthInfo, has_certificate: bool) -> Result<Self, CredentialError> {
        if auth.impersonate.is_none() && is_impersonation_incomplete(auth) {
            return Err(CredentialError::new(
                "the kubeconfig sets as-uid, as-groups or as-user-extra without `as`, the user to act as",
            ));
        }
        let secret = |text: &Option<secrecy::SecretString>| {
            text.as_ref().map(|text| text.expose_secret().to_owned())
        };
        let (token, password) = (secret(&auth.token), secret(&auth.password));
        let has_basic = auth.username.is_some() || password.is_some();
        if has_basic && (token.is_some() || auth.token_file.is_some()) {
            return Err(CredentialError::new(
                "the kubeconfig has a password and a token for the same user; remove one of them",
            ));
        }
        if has_basic {
            let user = auth.username.clone().unwrap_or_default();
            return basic_header(&user, &password.unwrap_or_default()).map(Self::Fixed);
        }
        if let Some(path) = &auth.token_file {
            return TokenFile::read(path.into(), token).map(Self::File);
        }
        if let Some(token) = token {
            return bearer_header(&token).map(Self::Fixed);
        }
        match (&auth.auth_provider, &auth.exec) {
            (Some(provider), Some(_)) => Err(CredentialError::new(format!(
                "the kubeconfig has the auth provider {} and a credential program for the same user; remove one of them",
                provider.name
            ))),
            (Some(provider), None) => {
                bearer_header(&read_provider_token(provider)?).map(Self::Fixed)
            }
            (None, Some(exec)) if !has_certificate => CredentialProgram::from_kubeconfig(exec)
                .map(|program| Self::Program(RenewedCredentials::new(program))),
            (None, _) => Ok(Self::Anonymous),
        }
    }
}

fn is_impersonation_incomplete(auth: &AuthInfo) -> bool {
    auth.impersonate_uid.is_some()
        || auth
            .impersonate_groups
            .as_ref()
            .is_some_and(|groups| !groups.is_empty())
        || auth
            .impersonate_user_extra
            .as_ref()
            .is_some_and(|extra| !extra.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(user: &str) -> Result<Method, CredentialError> {
        let auth: AuthInfo = serde_saphyr::from_str(user).unwrap();
        Method::read(&auth, false)
    }

    fn header(user: &str) -> String {
        match read(user) {
            Ok(Method::Fixed(header)) => header.to_str().unwrap().to_owned(),
            Ok(_) => panic!("{user} has no fixed header"),
            Err(error) => panic!("{user}: {error}"),
        }
    }

    #[test]
    fn a_user_has_one_method() {
        assert_eq!(header("token: abc"), "Bearer abc");
        assert_eq!(header("token: |\n  abc\n"), "Bearer abc");
        assert_eq!(header("{username: u, password: p}"), "Basic dTpw");
        assert_eq!(header("username: u"), "Basic dTo=");
        // A token has precedence over a program, as in client-go.
        assert_eq!(header("{token: abc, exec: {command: x}}"), "Bearer abc");
        assert!(matches!(read("{}"), Ok(Method::Anonymous)));
        let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: x}";
        assert!(matches!(read(exec), Ok(Method::Program(_))));
        let auth: AuthInfo = serde_saphyr::from_str(exec).unwrap();
        assert!(matches!(Method::read(&auth, true), Ok(Method::Anonymous)));
    }

    #[test]
    fn contradictions_are_refused_without_secrets() {
        for (user, expected) in [
            ("{token: hidden, username: u}", "a password and a token"),
            (
                "{password: hidden, tokenFile: /f}",
                "a password and a token",
            ),
            ("{token: \"hid\\nden\"}", "line break"),
            ("{token: hidden, as-groups: [g]}", "without `as`"),
            ("{as-uid: u}", "without `as`"),
            ("{as-user-extra: {a: [b]}}", "without `as`"),
            (
                "{exec: {command: x}, auth-provider: {name: oidc}}",
                "the auth provider oidc and a credential program",
            ),
            ("{exec: {command: x}}", "apiVersion"),
            (
                "{exec: {apiVersion: client.authentication.k8s.io/v1}}",
                "command",
            ),
        ] {
            let error = read(user)
                .err()
                .unwrap_or_else(|| panic!("{user}"))
                .to_string();
            assert!(
                error.contains(expected) && !error.contains("hid"),
                "{user}: {error}"
            );
        }
        assert!(read("{as: u, as-groups: [g], as-uid: x}").is_ok());
    }
}
