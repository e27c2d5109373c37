//! Credentials of the cluster that a Pod can be given: a token or a certificate of its service account.
//!
//! The Pod Security Standards allow them, because most Pods need them. A sandbox runs unreviewed code, so
//! it has none.

use k8s_openapi::api::core::v1::{Pod, PodSpec, VolumeProjection};
use sandbox_core::{Error, Result};

use crate::manifest::options::SecurityProfile;

/// The sources of a projected volume that hold no credential of the Pod itself.
const SOURCES: [&str; 4] = ["clusterTrustBundle", "configMap", "downwardAPI", "secret"];

/// Checks that a Pod gets no credential, unless its profile allows everything.
///
/// # Errors
///
/// [`Error::Invalid`] with the field.
pub(super) fn check(pod: &Pod, profile: &SecurityProfile) -> Result<()> {
    match profile {
        SecurityProfile::Custom { .. } => return Ok(()),
        SecurityProfile::Baseline | SecurityProfile::Restricted => {}
    }
    match pod.spec.as_ref().and_then(credential_field) {
        None => Ok(()),
        Some(field) => Err(Error::invalid(
            "field of the Pod",
            field,
            "a sandbox gets no token or certificate of a service account, with which its commands could use the \
             cluster; remove it, or choose the profile SecurityProfile::Custom, which allows everything",
        )),
    }
}

/// Whether the containers of a Pod may find a credential of its service account.
pub(crate) fn has_service_account_token(spec: &PodSpec) -> bool {
    credential_field(spec).is_some()
}

fn credential_field(spec: &PodSpec) -> Option<String> {
    // Without the field, the service account decides, and its default is to mount the token.
    if spec.automount_service_account_token != Some(false) {
        return Some("spec.automountServiceAccountToken".to_owned());
    }
    let projected = spec
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref());
    let sources = projected.flat_map(|volume| volume.sources.iter().flatten());
    let source = sources.into_iter().find_map(unlisted_source)?;
    Some(format!("spec.volumes: projected: {source}"))
}

/// Returns the name of a source that is not in [`SOURCES`].
fn unlisted_source(source: &VolumeProjection) -> Option<String> {
    // The text form is used, because later versions of Kubernetes have more sources.
    let written = serde_json::to_value(source).ok()?;
    let fields = written.as_object()?.keys();
    fields
        .into_iter()
        .find(|field| !SOURCES.contains(&field.as_str()))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn field(spec: Value) -> Option<String> {
        credential_field(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn each_way_to_a_credential_is_named() {
        let automount = Some("spec.automountServiceAccountToken".to_owned());
        assert_eq!(field(json!({"containers": []})), automount);
        assert_eq!(
            field(json!({"automountServiceAccountToken": true, "containers": []})),
            automount
        );
        let projected = |sources: Value| {
            field(json!({
                "automountServiceAccountToken": false, "containers": [],
                "volumes": [{"name": "a", "emptyDir": {}}, {"name": "v", "projected": {"sources": sources}}],
            }))
        };
        let harmless = json!([
            {"secret": {"name": "s"}}, {"configMap": {"name": "c"}}, {"downwardAPI": {}},
            {"clusterTrustBundle": {"path": "p"}},
        ]);
        assert_eq!(projected(harmless), None);
        assert_eq!(
            projected(json!([{"configMap": {}}, {"serviceAccountToken": {"path": "t"}}]))
                .as_deref(),
            Some("spec.volumes: projected: serviceAccountToken")
        );
    }
}
