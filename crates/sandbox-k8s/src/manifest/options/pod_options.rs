//! The options of a Pod that other backends do not have.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{HostAlias, Toleration};
use sandbox_core::{Error, Result, SandboxSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policies::{PullPolicy, SecurityProfile};
use super::volume::PodVolume;
use crate::manifest::place;
use crate::names::BACKEND;

/// The options of a Pod that other backends do not have, for all sandboxes of a client
/// ([`KubernetesOptions::pod`](super::KubernetesOptions::pod)) or for one. Its text form, in YAML or JSON,
/// has the names of Kubernetes.
///
/// Those of one sandbox are merged over those of its client: single values are replaced, maps and named
/// elements are merged by key or name (selectors, annotations, resources, volumes, host aliases), lists
/// are joined (tolerations, pull secrets), and of two patches the sandbox's is applied last.
///
/// ```
/// use sandbox_k8s::options::{PodOptions, PodVolume, VolumeSource};
///
/// let options = PodOptions::new()
///     .node_selector("disk", "ssd")
///     .tolerate("nvidia.com/gpu")
///     .extended_resource("nvidia.com/gpu", "1")
///     .volume(PodVolume::new("data", "/data", VolumeSource::PersistentVolumeClaim("dataset".into())));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PodOptions {
    /// The service account. Its token is not mounted; only a patch under [`SecurityProfile::Custom`] can do that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,
    /// The runtime, such as `gvisor` or `kata`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// The priority class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority_class_name: Option<String>,
    /// Node selector: labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Tolerations of taints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Lines for `/etc/hosts`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub host_aliases: Vec<HostAlias>,
    /// Requests below the sandbox's limits: `cpu`, `memory`, `ephemeral-storage`. A sandbox that uses more
    /// than it requests can be evicted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub requests: BTreeMap<String, String>,
    /// Extended resources, such as devices: `nvidia.com/gpu` → `1`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extended_resources: BTreeMap<String, String>,
    /// Volumes, each with one mount path.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<PodVolume>,
    /// Annotations. Those in the SDK's domain are refused.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Secrets in the namespace with which images are pulled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
    /// When images are pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,
    /// What its processes may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_profile: Option<SecurityProfile>,
    /// The user and group that its processes run as under [`SecurityProfile::Restricted`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as_user: Option<u32>,
    /// A raw patch of the Pod: objects are merged by field, lists of named elements by name, other lists are
    /// replaced, and `null` removes. It may neither change fields that the SDK relies on nor loosen the
    /// security profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<Value>,
}

impl PodOptions {
    /// Returns empty options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs it under this service account. Its token is not mounted.
    #[must_use]
    pub fn service_account(mut self, name: impl Into<String>) -> Self {
        self.service_account_name = Some(name.into());
        self
    }

    /// Runs it with this runtime, such as `gvisor` or `kata`.
    #[must_use]
    pub fn runtime_class(mut self, name: impl Into<String>) -> Self {
        self.runtime_class_name = Some(name.into());
        self
    }

    /// Gives it this priority class.
    #[must_use]
    pub fn priority_class(mut self, name: impl Into<String>) -> Self {
        self.priority_class_name = Some(name.into());
        self
    }

    /// Restricts it to nodes that have this label.
    #[must_use]
    pub fn node_selector(mut self, label: impl Into<String>, value: impl Into<String>) -> Self {
        self.node_selector.insert(label.into(), value.into());
        self
    }

    /// Allows nodes with this taint.
    #[must_use]
    pub fn toleration(mut self, toleration: Toleration) -> Self {
        self.tolerations.push(toleration);
        self
    }

    /// Allows nodes with any taint of this key.
    #[must_use]
    pub fn tolerate(self, key: impl Into<String>) -> Self {
        self.toleration(Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            ..Toleration::default()
        })
    }

    /// Resolves these names to this address in the sandbox.
    #[must_use]
    pub fn host_alias<N: Into<String>>(
        mut self,
        ip: impl Into<String>,
        names: impl IntoIterator<Item = N>,
    ) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.host_aliases.push(HostAlias {
            ip: ip.into(),
            hostnames: Some(names),
        });
        self
    }

    /// Requests less than the sandbox's limit of `cpu`, `memory` or `ephemeral-storage`.
    #[must_use]
    pub fn request(mut self, name: impl Into<String>, amount: impl Into<String>) -> Self {
        self.requests.insert(name.into(), amount.into());
        self
    }

    /// Gives it this amount of an extended resource of the nodes, such as `nvidia.com/gpu`.
    #[must_use]
    pub fn extended_resource(mut self, name: impl Into<String>, amount: impl Into<String>) -> Self {
        self.extended_resources.insert(name.into(), amount.into());
        self
    }

    /// Mounts a volume.
    #[must_use]
    pub fn volume(mut self, volume: PodVolume) -> Self {
        self.volumes.push(volume);
        self
    }

    /// Annotates the Pod.
    #[must_use]
    pub fn annotation(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Pulls its images with this Secret of the namespace as well.
    #[must_use]
    pub fn image_pull_secret(mut self, name: impl Into<String>) -> Self {
        self.image_pull_secrets.push(name.into());
        self
    }

    /// Sets when its images are pulled.
    #[must_use]
    pub fn image_pull_policy(mut self, policy: PullPolicy) -> Self {
        self.image_pull_policy = Some(policy);
        self
    }

    /// Sets what its processes may do.
    #[must_use]
    pub fn security_profile(mut self, profile: SecurityProfile) -> Self {
        self.security_profile = Some(profile);
        self
    }

    /// Sets the user and group that its processes run as under [`SecurityProfile::Restricted`].
    #[must_use]
    pub fn run_as_user(mut self, id: u32) -> Self {
        self.run_as_user = Some(id);
        self
    }

    /// Sets a raw patch of its Pod; see [the field](field@Self::patch).
    #[must_use]
    pub fn patch(mut self, patch: impl Into<Value>) -> Self {
        self.patch = Some(patch.into());
        self
    }

    /// Converts them to the form that a [`SandboxSpec`] carries.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if they have no text form, which does not happen.
    pub fn to_value(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(unreadable)
    }

    /// Reads the options of one sandbox.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with the unknown or malformed field, and
    /// [`Error::Unsupported`] for options of another backend.
    pub fn from_spec(spec: &SandboxSpec) -> Result<Self> {
        match spec.backend_options.require_only(BACKEND)? {
            // serde would accept a list as an object with its fields in order.
            Some(value) if !value.is_object() => Err(unreadable(
                "they must be an object, such as {\"nodeSelector\": {…}}",
            )),
            Some(value) => Self::deserialize(value).map_err(|error| {
                match place::find::<Self>(value) {
                    // An unknown field names itself.
                    Some(place) if !error.to_string().contains(&format!("`{place}`")) => {
                        unreadable(format!("{place}: {error}"))
                    }
                    _ => unreadable(error),
                }
            }),
            None => Ok(Self::default()),
        }
    }
}

fn unreadable(why: impl ToString) -> Error {
    Error::invalid("options for the backend", BACKEND, why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::options::VolumeSource;
    use serde_json::json;

    #[test]
    fn the_text_form_has_the_names_of_kubernetes() {
        let text = json!({
            "runtimeClassName": "gvisor",
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "gpu", "operator": "Exists"}],
            "hostAliases": [{"ip": "10.0.0.5", "hostnames": ["mirror"]}],
            "requests": {"cpu": "100m"},
            "extendedResources": {"nvidia.com/gpu": "1"},
            "volumes": [{"name": "data", "mountPath": "/data", "persistentVolumeClaim": {"claimName": "claim"}}],
            "imagePullSecrets": ["registry"],
            "imagePullPolicy": "IfNotPresent",
            "securityProfile": {"custom": {"pod": {"runAsUser": 0}, "container": {}}},
            "patch": {"spec": {"hostname": "box"}},
        });
        let options: PodOptions = serde_json::from_value(text.clone()).unwrap();
        let built = PodOptions::new()
            .runtime_class("gvisor")
            .node_selector("disk", "ssd")
            .tolerate("gpu")
            .host_alias("10.0.0.5", ["mirror"])
            .request("cpu", "100m")
            .extended_resource("nvidia.com/gpu", "1")
            .volume(PodVolume::new(
                "data",
                "/data",
                VolumeSource::PersistentVolumeClaim("claim".into()),
            ))
            .image_pull_secret("registry")
            .image_pull_policy(PullPolicy::IfNotPresent)
            .security_profile(options.security_profile.clone().unwrap())
            .patch(json!({"spec": {"hostname": "box"}}));
        assert_eq!(options, built);
        assert_eq!(built.to_value().unwrap(), text);
        assert_eq!(PodOptions::new().to_value().unwrap(), json!({}));
        let named = json!({"securityProfile": "baseline", "runAsUser": 101});
        let read: PodOptions = serde_json::from_value(named).unwrap();
        assert_eq!(
            (read.security_profile, read.run_as_user),
            (Some(SecurityProfile::Baseline), Some(101))
        );
    }

    #[test]
    fn an_unknown_field_is_named() {
        let read = |backend: &str, options: Value| {
            let mut spec = SandboxSpec::default();
            spec.backend_options.set(backend, options);
            PodOptions::from_spec(&spec).unwrap_err()
        };
        for (options, named) in [
            (json!({"nodeSelecter": {}}), "nodeSelecter"),
            (json!({"tolerations": "all"}), "tolerations: invalid type"),
            (
                json!({"nodeSelector": {"a": "b", "gpu": 1}}),
                "nodeSelector.gpu: ",
            ),
            (
                json!({"volumes": [{"name": "v", "mountPath": "/v", "persistentVolumeClaim": "data"}]}),
                "volumes[0]: invalid type: string \"data\", expected {claimName: NAME}",
            ),
            (json!({"imagePullPolicy": "Sometimes"}), "Sometimes"),
            (json!([]), "object"),
        ] {
            let error = read("k8s", options);
            assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
            assert!(error.to_string().contains(named), "{error}");
        }
        assert!(matches!(
            read("docker", json!({})),
            Error::Unsupported { .. }
        ));
    }
}
