//! Creations that must fail, and assertions about their errors.

use std::time::Duration;

use sandbox::{Client, CreationError, CreationReason, CreationStage, Error, SandboxBuilder};
use sandbox_conformance::Outcome;
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{KubernetesOptions, PodOptions};

use crate::cluster::{admin_backend, api, client_for, defaults, namespace, options};

/// Options under which a problem that may clear by itself fails a creation after four seconds.
pub(crate) fn short_grace() -> KubernetesOptions {
    let mut options = options();
    options.startup_grace = Duration::from_secs(4);
    options
}

/// A client with these options, whose creations time out after three minutes: much more than a busy node needs to report
/// what fails them.
async fn impatient_client(options: KubernetesOptions) -> Outcome<Client> {
    let mut defaults = defaults();
    defaults.create_timeout = Duration::from_secs(180);
    // The account of the tests has permissions in their own namespace only.
    let backend = if options.namespace.as_deref() == Some(namespace()) {
        admin_backend(options).await?
    } else {
        KubernetesBackend::new(api().await?, options)
    };
    Ok(client_for(backend, defaults))
}

/// Creates a sandbox, which must fail, and returns the error. That no object is left is checked at
/// the end of the run.
pub(crate) async fn creation_error(
    options: KubernetesOptions,
    configure: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
) -> Outcome<CreationError> {
    let client = impatient_client(options).await?;
    let error = match configure(client.sandbox()).create().await {
        Ok(sandbox) => {
            sandbox.delete().await?;
            return Err("it was created".into());
        }
        Err(Error::Creation(error)) => *error,
        Err(other) => return Err(format!("another error: {other:?}").into()),
    };
    println!("{error}");
    assert!(!error.message.contains('\n'), "one line: {error}");
    Ok(error)
}

/// Asserts that a creation with these options of its Pod fails at the provision stage for this
/// reason, with a message that contains each of the texts.
pub(crate) async fn assert_creation_fails(
    options: KubernetesOptions,
    pod: PodOptions,
    reason: CreationReason,
    texts: &[&str],
) -> Outcome {
    let pod = pod.to_value()?;
    let error = creation_error(options, |builder| builder.backend_options("k8s", pod)).await?;
    assert_reason(&error, reason, texts);
    Ok(())
}

/// Asserts the reason of a failure at the provision stage, and that its message contains each of
/// the texts.
pub(crate) fn assert_reason(error: &CreationError, reason: CreationReason, texts: &[&str]) {
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Provision, reason),
        "{error}"
    );
    assert_message(error, texts);
}

/// Asserts that the message contains each of the texts.
pub(crate) fn assert_message(error: &CreationError, texts: &[&str]) {
    for text in texts {
        assert!(error.message.contains(text), "{text:?} is not in: {error}");
    }
}
