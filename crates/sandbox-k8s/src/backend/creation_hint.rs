//! Suggestions in the errors of creations.

use sandbox_core::Error;

use super::shared::Shared;
use crate::api::failure::{Failure, FailureCause};
use crate::manifest::options::{InjectVia, Injection};

/// Adds a suggestion to the error of a missing namespace, or of a cluster without image volumes.
pub(super) async fn add_hint(shared: &Shared, failure: Failure) -> Error {
    match failure.error {
        Error::Creation(mut error)
            if shared.options.injection == Injection::Inject(InjectVia::ImageVolume)
                && error.message.contains("spec.volumes") =>
        {
            error.message.push_str(
                " (this cluster's API server does not support image volumes: set SANDBOX_INJECTION=init-container to \
                 install the server by an init container, or auto to detect what the cluster supports)",
            );
            Error::Creation(error)
        }
        Error::Config { message } if failure.cause == FailureCause::NoNamespace => {
            let hint = shared.api().suggest_namespace().await;
            let hint = hint
                .map(|name| format!(" (did you mean {name}?)"))
                .unwrap_or_default();
            Error::Config {
                message: message + &hint,
            }
        }
        error => error,
    }
}
