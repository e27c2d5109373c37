//! Adds the requested volumes.

use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, PersistentVolumeClaimVolumeSource, PodSpec,
    SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sandbox_core::{Error, Result};

use super::non_empty::non_empty;
use super::server::DIRECTORY;
use crate::manifest::labels::is_key_secret_name;
use crate::manifest::options::{PodVolume, VolumeSource};
use crate::names::{CONTAINER, KEY, SERVER};

pub(super) fn add(spec: &mut PodSpec, requested: &[PodVolume]) -> Result<()> {
    for (index, volume) in requested.iter().enumerate() {
        let name = &volume.name;
        if is_reserved_volume(name) || requested[..index].iter().any(|other| other.name == *name) {
            return Err(Error::invalid(
                "name of a volume",
                name,
                "it is taken; choose another",
            ));
        }
        check_mount_path(&volume.mount_path)?;
        if let VolumeSource::Secret(name) = &volume.source
            && is_key_secret_name(name)
        {
            return Err(Error::invalid(
                "Secret of a volume",
                name,
                "it holds the keys of a sandbox, which are not for commands; name another Secret",
            ));
        }
    }
    spec.volumes = non_empty(requested.iter().map(to_volume).collect());
    if let Some(main) = spec.containers.first_mut() {
        main.volume_mounts = non_empty(requested.iter().map(to_mount).collect());
    }
    Ok(())
}

fn check_mount_path(path: &str) -> Result<()> {
    // Kubernetes accepts relative paths, whose meaning depends on the runtime.
    let why = if !path.starts_with('/') || path.contains(':') {
        "use an absolute path without a colon"
    } else if path.split('/').any(|part| part == "..") {
        "use a path without .."
    } else if components(path).next().is_none() {
        "the root is the image's own"
    } else {
        return Ok(());
    };
    Err(Error::invalid("mount path of a volume", path, why))
}

/// Checks that nothing is mounted over the server and that no other container mounts a reserved volume, whether
/// an option or a patch requested it.
///
/// # Errors
///
/// [`Error::Invalid`] with the mount path.
pub(super) fn check(spec: &PodSpec, server: Option<&str>) -> Result<()> {
    let every = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    for container in every {
        for mount in container.volume_mounts.iter().flatten() {
            let place = &mount.mount_path;
            if is_reserved_volume(&mount.name) {
                if container.name != CONTAINER && container.name != SERVER {
                    let why = "its volume is the SDK's, for the sandbox's container alone";
                    return Err(Error::invalid("mount path of a volume", place, why));
                }
            } else if container.name == CONTAINER {
                check_mount_path(place)?;
                if server
                    .is_some_and(|server| covers(place, server) || is_in_server_directory(place))
                {
                    let why = "the SSH server is there; choose another";
                    return Err(Error::invalid("mount path of a volume", place, why));
                }
            }
        }
    }
    Ok(())
}

/// Whether a mount at this path hides the file.
fn covers(place: &str, file: &str) -> bool {
    let mut file = components(file);
    components(place).all(|part| file.next() == Some(part))
}

fn is_in_server_directory(place: &str) -> bool {
    components(place).next() == Some(&DIRECTORY[1..])
}

/// Returns the components of a path, without empty ones and `.`.
fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
}

pub(super) fn is_reserved_volume(volume: &str) -> bool {
    volume == SERVER || volume == KEY
}

fn to_volume(volume: &PodVolume) -> Volume {
    let mut built = Volume {
        name: volume.name.clone(),
        ..Volume::default()
    };
    let empty = |medium: Option<&str>, size: &Option<String>| EmptyDirVolumeSource {
        medium: medium.map(str::to_owned),
        size_limit: size.clone().map(Quantity),
    };
    match &volume.source {
        VolumeSource::EmptyDir(size) => built.empty_dir = Some(empty(None, size)),
        VolumeSource::Memory(size) => built.empty_dir = Some(empty(Some("Memory"), size)),
        VolumeSource::PersistentVolumeClaim(claim) => {
            built.persistent_volume_claim = Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.clone(),
                read_only: volume.read_only.then_some(true),
            });
        }
        VolumeSource::ConfigMap(name) => {
            built.config_map = Some(ConfigMapVolumeSource {
                name: name.clone(),
                ..ConfigMapVolumeSource::default()
            });
        }
        VolumeSource::Secret(name) => {
            built.secret = Some(SecretVolumeSource {
                secret_name: Some(name.clone()),
                ..SecretVolumeSource::default()
            });
        }
    }
    built
}

fn to_mount(volume: &PodVolume) -> VolumeMount {
    VolumeMount {
        name: volume.name.clone(),
        mount_path: volume.mount_path.clone(),
        read_only: volume.read_only.then_some(true),
        sub_path: volume.sub_path.clone(),
        ..VolumeMount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_above_a_file_covers_it() {
        let server = "/usr/local/bin/sandbox-sshd";
        for (place, covered) in [
            ("/usr/local/bin/sandbox-sshd", true),
            ("/usr", true),
            ("//usr/./local/", true),
            ("/usr/local/binary", false),
            ("/usr/local/bin/other", false),
            ("/usr/local/bin/sandbox-sshd/x", false),
            ("/data", false),
        ] {
            assert_eq!(covers(place, server), covered, "{place}");
        }
    }
}
