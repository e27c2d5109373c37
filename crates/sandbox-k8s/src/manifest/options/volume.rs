//! The options of volumes.

use serde::{Deserialize, Serialize};

/// A volume and its mount. Its text form combines what Kubernetes has in two places, the volume and its
/// mount: `{name, mountPath, readOnly, emptyDir: {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
#[non_exhaustive]
pub struct PodVolume {
    /// The name within the Pod.
    pub name: String,
    /// The absolute path in the sandbox.
    pub mount_path: String,
    /// A file or directory of the volume that is mounted instead of all of it.
    pub sub_path: Option<String>,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// The source of the content.
    pub source: VolumeSource,
}

/// The source of a volume. Others can be added by a raw patch.
/// <https://kubernetes.io/docs/concepts/storage/volumes/>
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VolumeSource {
    /// An empty directory, deleted with the Pod; with this size limit in Kubernetes' notation.
    EmptyDir(Option<String>),
    /// An empty directory in memory, which counts as the sandbox's memory.
    Memory(Option<String>),
    /// A claim for a persistent volume, by name.
    PersistentVolumeClaim(String),
    /// A ConfigMap, by name: a file for each key.
    ConfigMap(String),
    /// A Secret, by name: a file for each key. The Secret with the sandbox's own keys is refused.
    Secret(String),
}

impl PodVolume {
    /// Returns a volume that is mounted writable, if its source can be written.
    pub fn new(
        name: impl Into<String>,
        mount_path: impl Into<String>,
        source: VolumeSource,
    ) -> Self {
        Self {
            name: name.into(),
            mount_path: mount_path.into(),
            sub_path: None,
            read_only: false,
            source,
        }
    }

    /// Mounts it read-only.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Mounts only this file or directory of it.
    #[must_use]
    pub fn sub_path(mut self, path: impl Into<String>) -> Self {
        self.sub_path = Some(path.into());
        self
    }
}

/// The text form.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    name: String,
    mount_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_path: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    empty_dir: Option<EmptyDir>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    persistent_volume_claim: Option<Claim>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config_map: Option<ConfigMap>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
}

#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "an object, such as {sizeLimit: 1Gi}"
)]
struct EmptyDir {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    medium: Option<Medium>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size_limit: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Medium {
    Memory,
}

#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "{claimName: NAME}"
)]
struct Claim {
    claim_name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{name: NAME}")]
struct ConfigMap {
    name: String,
}

#[derive(Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "{secretName: NAME}"
)]
struct Secret {
    secret_name: String,
}

impl TryFrom<Text> for PodVolume {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        let empty = text.empty_dir.map(|empty| match empty.medium {
            Some(Medium::Memory) => VolumeSource::Memory(empty.size_limit),
            None => VolumeSource::EmptyDir(empty.size_limit),
        });
        let claim = text.persistent_volume_claim.map(|claim| claim.claim_name);
        let sources = [
            empty,
            claim.map(VolumeSource::PersistentVolumeClaim),
            text.config_map.map(|map| VolumeSource::ConfigMap(map.name)),
            text.secret
                .map(|secret| VolumeSource::Secret(secret.secret_name)),
        ];
        let mut sources = sources.into_iter().flatten();
        let (Some(source), None) = (sources.next(), sources.next()) else {
            return Err(format!(
                "the volume {} must be one of emptyDir, persistentVolumeClaim, configMap and secret",
                text.name
            ));
        };
        let Text {
            name,
            mount_path,
            sub_path,
            read_only,
            ..
        } = text;
        Ok(Self {
            name,
            mount_path,
            sub_path,
            read_only,
            source,
        })
    }
}

impl From<PodVolume> for Text {
    fn from(volume: PodVolume) -> Self {
        let PodVolume {
            name,
            mount_path,
            sub_path,
            read_only,
            source,
        } = volume;
        let (mut empty_dir, mut persistent_volume_claim, mut config_map, mut secret) =
            (None, None, None, None);
        match source {
            VolumeSource::EmptyDir(size_limit) => {
                empty_dir = Some(EmptyDir {
                    medium: None,
                    size_limit,
                })
            }
            VolumeSource::Memory(size_limit) => {
                empty_dir = Some(EmptyDir {
                    medium: Some(Medium::Memory),
                    size_limit,
                });
            }
            VolumeSource::PersistentVolumeClaim(claim_name) => {
                persistent_volume_claim = Some(Claim { claim_name });
            }
            VolumeSource::ConfigMap(name) => config_map = Some(ConfigMap { name }),
            VolumeSource::Secret(secret_name) => secret = Some(Secret { secret_name }),
        }
        Self {
            name,
            mount_path,
            sub_path,
            read_only,
            empty_dir,
            persistent_volume_claim,
            config_map,
            secret,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn each_source_has_the_text_form_of_kubernetes() {
        for (source, text) in [
            (VolumeSource::EmptyDir(None), json!({"emptyDir": {}})),
            (
                VolumeSource::EmptyDir(Some("1Gi".into())),
                json!({"emptyDir": {"sizeLimit": "1Gi"}}),
            ),
            (
                VolumeSource::Memory(None),
                json!({"emptyDir": {"medium": "Memory"}}),
            ),
            (
                VolumeSource::PersistentVolumeClaim("c".into()),
                json!({"persistentVolumeClaim": {"claimName": "c"}}),
            ),
            (
                VolumeSource::ConfigMap("m".into()),
                json!({"configMap": {"name": "m"}}),
            ),
            (
                VolumeSource::Secret("s".into()),
                json!({"secret": {"secretName": "s"}}),
            ),
        ] {
            let mut expected =
                json!({"name": "v", "mountPath": "/v", "subPath": "a/b", "readOnly": true});
            expected
                .as_object_mut()
                .unwrap()
                .extend(text.as_object().unwrap().clone());
            let volume = PodVolume::new("v", "/v", source)
                .read_only()
                .sub_path("a/b");
            assert_eq!(serde_json::to_value(&volume).unwrap(), expected);
            assert_eq!(
                serde_json::from_value::<PodVolume>(expected).unwrap(),
                volume
            );
        }
    }

    #[test]
    fn an_invalid_volume_is_named() {
        let read = |more: Value| {
            let mut text = json!({"name": "v", "mountPath": "/v"});
            text.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            serde_json::from_value::<PodVolume>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(read(json!({})).contains("the volume v must be one of emptyDir"));
        assert!(
            read(json!({"emptyDir": {}, "secret": {"secretName": "s"}})).contains("must be one of")
        );
        assert!(read(json!({"hostPath": {"path": "/"}})).contains("hostPath"));
        assert!(read(json!({"emptyDir": {"medium": "HugePages"}})).contains("Memory"));
        assert!(read(json!({"secret": {"name": "s"}})).contains("secretName"));
    }
}
