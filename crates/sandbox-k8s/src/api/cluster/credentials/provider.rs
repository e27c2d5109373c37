//! The auth providers that kubeconfigs had before there were credential programs.

use kube::config::AuthProviderConfig;

use crate::api::cluster::errors::CredentialError;

/// Returns the token of an auth provider. Kubernetes 1.26 removed those of cloud providers; `oidc` is left.
/// <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#configuring-kubectl>
///
/// # Errors
///
/// If the provider was removed or is not known, or it has no token.
pub(super) fn read_provider_token(
    provider: &AuthProviderConfig,
) -> Result<String, CredentialError> {
    let name = provider.name.as_str();
    let replacement = match name {
        "oidc" => return read_id_token(provider),
        "gcp" => "gke-gcloud-auth-plugin (gcloud container clusters get-credentials writes it)",
        "azure" => "kubelogin (kubelogin convert-kubeconfig writes it)",
        _ => "one that your cluster's provider offers",
    };
    let fate = match name {
        "gcp" | "azure" => "was removed from Kubernetes 1.26",
        _ => "is not known",
    };
    Err(CredentialError::new(format!(
        "the auth provider {name} of the kubeconfig {fate}; use a credential program (exec) instead: {replacement}"
    )))
}

/// The token is used as it is: the provider's refresh token is not.
fn read_id_token(provider: &AuthProviderConfig) -> Result<String, CredentialError> {
    let token = provider
        .config
        .get("id-token")
        .filter(|token| !token.is_empty());
    token.cloned().ok_or_else(|| {
        CredentialError::new(
            "the auth provider oidc of the kubeconfig has no id-token; run kubectl once, which gets one, \
             or use the credential program kubelogin instead",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_oidc_has_a_token() {
        let read = |text: &str| {
            let provider: AuthProviderConfig = serde_saphyr::from_str(text).unwrap();
            read_provider_token(&provider).map_err(|error| error.to_string())
        };
        assert_eq!(read("{name: oidc, config: {id-token: t}}").unwrap(), "t");
        for (text, expected) in [
            ("{name: oidc}", "no id-token"),
            (
                "{name: gcp, config: {access-token: hidden}}",
                "gcp of the kubeconfig was removed",
            ),
            ("{name: azure}", "kubelogin"),
            (
                "{name: openstack}",
                "openstack of the kubeconfig is not known",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.contains(expected) && !error.contains("hidden"),
                "{error}"
            );
        }
    }
}
