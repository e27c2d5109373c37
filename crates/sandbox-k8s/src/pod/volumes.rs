//! Volumes that were asked for.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec,
    SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sandbox_core::{Error, Result};

use super::inject::DIRECTORY;
use super::{KEY, SERVER, some};
use crate::options::{VolumeAt, VolumeSource};

pub(super) fn add(spec: &mut PodSpec, asked: &[VolumeAt]) -> Result<()> {
    for (index, volume) in asked.iter().enumerate() {
        let VolumeAt { name, mount_path, .. } = volume;
        if name == SERVER || name == KEY || asked[..index].iter().any(|other| other.name == *name) {
            return Err(Error::invalid("name of a volume", name, "it is taken; choose another"));
        }
        // Kubernetes takes relative paths, and leaves what they mean to the runtime.
        if !mount_path.starts_with('/') || mount_path.contains(':') {
            return Err(Error::invalid(
                "place of a volume",
                mount_path,
                "use an absolute path without a colon",
            ));
        }
        let mut parts = mount_path.split('/').filter(|part| !part.is_empty());
        match (parts.next(), parts.next()) {
            (None, _) => {
                return Err(Error::invalid("place of a volume", mount_path, "the root is the image's own"));
            }
            (Some(first), _) if first == &DIRECTORY[1..] => {
                return Err(Error::invalid("place of a volume", mount_path, "the SSH server may be there"));
            }
            _ => {}
        }
        if mount_path.split('/').any(|part| part == "..") {
            return Err(Error::invalid("place of a volume", mount_path, "use a path without .."));
        }
    }
    spec.volumes = some(asked.iter().map(source).collect());
    if let Some(main) = spec.containers.first_mut() {
        main.volume_mounts = some(asked.iter().map(mount).collect());
    }
    Ok(())
}

fn source(volume: &VolumeAt) -> Volume {
    let mut made = Volume { name: volume.name.clone(), ..Volume::default() };
    match &volume.source {
        VolumeSource::EmptyDir(size) => {
            made.empty_dir =
                Some(EmptyDirVolumeSource { medium: None, size_limit: size.clone().map(Quantity) });
        }
        VolumeSource::PersistentVolumeClaim(claim) => {
            made.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.clone(),
                read_only: volume.read_only.then_some(true),
            });
        }
        VolumeSource::ConfigMap(name) => {
            made.config_map =
                Some(ConfigMapVolumeSource { name: name.clone(), ..ConfigMapVolumeSource::default() });
        }
        VolumeSource::Secret(name) => {
            made.secret =
                Some(SecretVolumeSource { secret_name: Some(name.clone()), ..SecretVolumeSource::default() });
        }
    }
    made
}

fn mount(volume: &VolumeAt) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        mount_path: volume.mount_path.clone(),
        read_only: volume.read_only.then_some(true),
        ..VolumeMount::default()
    }
}
