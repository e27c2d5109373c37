//! Looks for missing sources of a Pod's volumes, for a Pod whose node does not say why its container does not start.
//!
//! Only an event of the kubelet names a missing source. A busy kubelet sends its events late, because it may send only
//! few in a second (`eventRecordQPS`, 5 before Kubernetes 1.27), and drops those that do not fit into its queue.
//! <https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/>

use std::collections::BTreeSet;

use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, Pod, Secret, Volume, VolumeProjection,
};
use sandbox_core::{Deadline, SandboxId};

use super::shared::Shared;
use crate::api::failure::FailureCause;
use crate::observe::status::{Problem, missing_source_problem};

/// How many sources of a Pod are looked for. A patch can name any number.
const MAX_SOURCES: usize = 32;

/// An object that a volume needs before it can be mounted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SourceObject {
    ConfigMap(String),
    Secret(String),
    Claim(String),
}

/// What is known about the sources of a Pod's volumes.
#[derive(Debug, Default)]
pub(super) struct SourceCheck {
    /// The first source that does not exist.
    pub(super) missing: Option<Problem>,
    /// The sources that this account may not read.
    pub(super) unreadable: Vec<SourceObject>,
}

/// Looks for each source that the Pod names. Their content is never requested.
pub(super) async fn check_sources(
    shared: &Shared,
    id: &SandboxId,
    deadline: Deadline,
) -> SourceCheck {
    let pod = match shared.api().get::<Pod>(id, deadline).await {
        Ok(Some((pod, _))) => pod,
        Ok(None) => return SourceCheck::default(),
        Err(error) => {
            tracing::debug!(sandbox.id = %id, %error, "volumes not read");
            return SourceCheck::default();
        }
    };
    let lookups = required_sources(&pod).into_iter().map(async |source| {
        let existence = source.look_up(shared, deadline).await;
        (source, existence)
    });
    let mut check = SourceCheck::default();
    for (source, existence) in join_all(lookups).await {
        match existence {
            Existence::Exists | Existence::Unknown => {}
            Existence::Missing => {
                let problem = || missing_source_problem(&source.to_string());
                check.missing.get_or_insert_with(problem);
            }
            Existence::Forbidden => check.unreadable.push(source),
        }
    }
    check
}

enum Existence {
    Exists,
    Missing,
    Forbidden,
    /// The API server did not respond as it should.
    Unknown,
}

impl SourceObject {
    async fn look_up(&self, shared: &Shared, deadline: Deadline) -> Existence {
        let api = shared.api();
        let found = match self {
            Self::ConfigMap(name) => api.has_object::<ConfigMap>(name, deadline).await,
            Self::Secret(name) => api.has_object::<Secret>(name, deadline).await,
            Self::Claim(name) => {
                api.has_object::<PersistentVolumeClaim>(name, deadline)
                    .await
            }
        };
        match found {
            Ok(true) => Existence::Exists,
            Ok(false) => Existence::Missing,
            Err(failure) if failure.cause == FailureCause::NoPermission => Existence::Forbidden,
            Err(failure) => {
                tracing::debug!(source = %self, error = %failure.error, "volume source not looked up");
                Existence::Unknown
            }
        }
    }
}

/// As the kubelet names it.
impl std::fmt::Display for SourceObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ConfigMap(name) => write!(f, "configmap {name:?}"),
            Self::Secret(name) => write!(f, "secret {name:?}"),
            Self::Claim(name) => write!(f, "persistentvolumeclaim {name:?}"),
        }
    }
}

/// Returns the objects without which a volume of the Pod is not mounted, each once.
fn required_sources(pod: &Pod) -> BTreeSet<SourceObject> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    let sources = volumes.flat_map(|volume| {
        let projected = volume
            .projected
            .iter()
            .flat_map(|all| all.sources.iter().flatten());
        let projected = projected.filter_map(projected_source);
        direct_source(volume).into_iter().chain(projected)
    });
    sources.take(MAX_SOURCES).collect()
}

fn direct_source(volume: &Volume) -> Option<SourceObject> {
    if let Some(map) = &volume.config_map {
        required(SourceObject::ConfigMap(map.name.clone()), map.optional)
    } else if let Some(secret) = &volume.secret {
        let name = secret.secret_name.clone()?;
        required(SourceObject::Secret(name), secret.optional)
    } else {
        let claim = volume.persistent_volume_claim.as_ref()?;
        Some(SourceObject::Claim(claim.claim_name.clone()))
    }
}

fn projected_source(projection: &VolumeProjection) -> Option<SourceObject> {
    if let Some(map) = &projection.config_map {
        required(SourceObject::ConfigMap(map.name.clone()), map.optional)
    } else {
        let secret = projection.secret.as_ref()?;
        required(SourceObject::Secret(secret.name.clone()), secret.optional)
    }
}

/// Returns the source, unless its volume is mounted without it, too.
fn required(source: SourceObject, is_optional: Option<bool>) -> Option<SourceObject> {
    (is_optional != Some(true)).then_some(source)
}
