//! Adds the volumes and the init container that bring an SSH server into the Pod.

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ImageVolumeSource, KeyToPath, PodSpec, ResourceRequirements,
    SecretVolumeSource, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::container;
use super::non_empty::non_empty_map;
use super::server::{DIRECTORY, Origin, Place, Server};
use crate::manifest::labels::SecretName;
use crate::manifest::options::{AuthorizedKey, PodOptions};
use crate::manifest::secret;
use crate::names::{KEY, SERVER};

/// The path of sandbox-sshd in the server's image.
const SERVER_IMAGE_PATH: &str = "/sandbox-sshd";
/// The size limit of the volume, several times the size of sandbox-sshd.
const SERVER_VOLUME_SIZE: &str = "64Mi";

/// Adds what the server needs besides the container that it runs in.
pub(super) fn add(
    spec: &mut PodSpec,
    server: &Server<'_>,
    keys: &SecretName,
    options: &PodOptions,
) {
    match server {
        Server::SandboxSshd {
            origin: Origin::Baked,
            ..
        } => {}
        Server::SandboxSshd {
            origin: Origin::ImageVolume(image),
            ..
        } => {
            let source = ImageVolumeSource {
                pull_policy: container::pull_policy(options),
                reference: Some((*image).to_owned()),
            };
            mount(
                spec,
                Volume {
                    name: SERVER.into(),
                    image: Some(source),
                    ..Volume::default()
                },
                server_mount(),
            );
        }
        Server::SandboxSshd {
            origin: Origin::InitContainer(image),
            ..
        } => {
            spec.init_containers = Some(vec![init_container(spec, image)]);
            mount(spec, empty_volume(), server_mount());
        }
        // The container itself receives the server, so it can write the volume.
        Server::SandboxSshd {
            origin: Origin::Upload(_),
            ..
        } => mount(spec, empty_volume(), writable_server_mount()),
        Server::ImageSshd(own) => {
            if let AuthorizedKey::File(path) = &own.authorized_key {
                mount_authorized_key(spec, keys, path);
            }
        }
    }
}

/// Removes the volume of an uploaded server from a Pod that needs no other: a kubelet looks only every 300 ms whether
/// volumes are mounted. Patches have been applied, and were checked with it.
pub(super) fn remove_unneeded_volume(spec: &mut PodSpec, server: &Server<'_>) {
    let may_do_without = matches!(
        server,
        Server::SandboxSshd {
            origin: Origin::Upload(Place::Container),
            ..
        }
    );
    let is_only = spec.volumes.as_deref().is_some_and(|all| all.len() == 1);
    let [main] = spec.containers.as_mut_slice() else {
        return;
    };
    let context = main.security_context.as_ref();
    let is_read_only = context.and_then(|own| own.read_only_root_filesystem) == Some(true);
    let mounts = main.volume_mounts.as_deref().unwrap_or_default();
    if may_do_without && is_only && !is_read_only && mounts == [writable_server_mount()] {
        spec.volumes = None;
        main.volume_mounts = None;
    }
}

/// Returns the init container, which copies sandbox-sshd and ends. It has the pull policy and the limits of the
/// sandbox's container.
fn init_container(spec: &PodSpec, image: &str) -> Container {
    let main = spec.containers.first();
    let mut resources = main.and_then(|main| main.resources.clone());
    for amounts in resources
        .iter_mut()
        .flat_map(|all| [&mut all.limits, &mut all.requests])
    {
        if let Some(amounts) = amounts {
            amounts.retain(|name, _| !name.contains('/'));
        }
        *amounts = amounts.take().and_then(non_empty_map);
    }
    let resources = resources.filter(|all| *all != ResourceRequirements::default());
    Container {
        name: SERVER.into(),
        image: Some(image.to_owned()),
        image_pull_policy: main.and_then(|main| main.image_pull_policy.clone()),
        command: Some(
            [SERVER_IMAGE_PATH, "install", DIRECTORY]
                .map(str::to_owned)
                .to_vec(),
        ),
        resources,
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        volume_mounts: Some(vec![writable_server_mount()]),
        ..Container::default()
    }
}

/// Mounts one file of the Secret at its path. With `subPath` the directory remains that of the image: that of
/// a whole volume is writable for everyone, which OpenSSH's `StrictModes` refuses.
fn mount_authorized_key(spec: &mut PodSpec, keys: &SecretName, path: &str) {
    let item = KeyToPath {
        key: secret::AUTHORIZED_KEYS.into(),
        mode: Some(0o444),
        path: secret::AUTHORIZED_KEYS.into(),
    };
    let source = SecretVolumeSource {
        items: Some(vec![item]),
        secret_name: Some(keys.as_str().to_owned()),
        ..SecretVolumeSource::default()
    };
    let at = VolumeMount {
        name: KEY.into(),
        mount_path: path.to_owned(),
        sub_path: Some(secret::AUTHORIZED_KEYS.into()),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    mount(
        spec,
        Volume {
            name: KEY.into(),
            secret: Some(source),
            ..Volume::default()
        },
        at,
    );
}

fn server_mount() -> VolumeMount {
    VolumeMount {
        name: SERVER.into(),
        mount_path: DIRECTORY.into(),
        read_only: Some(true),
        ..VolumeMount::default()
    }
}

fn writable_server_mount() -> VolumeMount {
    VolumeMount {
        read_only: None,
        ..server_mount()
    }
}

/// Returns the volume that the server is written to.
fn empty_volume() -> Volume {
    let room = EmptyDirVolumeSource {
        medium: None,
        size_limit: Some(Quantity(SERVER_VOLUME_SIZE.into())),
    };
    Volume {
        name: SERVER.into(),
        empty_dir: Some(room),
        ..Volume::default()
    }
}

fn mount(spec: &mut PodSpec, volume: Volume, at: VolumeMount) {
    spec.volumes.get_or_insert_default().push(volume);
    if let Some(main) = spec.containers.first_mut() {
        main.volume_mounts.get_or_insert_default().push(at);
    }
}
