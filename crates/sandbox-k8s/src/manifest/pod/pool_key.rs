//! The key of a pool: a hash of what its sandboxes have in common.

use sandbox_core::{Error, PoolKey, Result, SandboxId, SandboxSpec, Uid, protocol};
use sha2::{Digest, Sha256};

use super::request::PodParams;
use crate::manifest::options::{KubernetesOptions, PodOptions};

/// What differs from sandbox to sandbox is the same in every Pod that is hashed.
const PLACEHOLDER: &str = "pool";

/// Returns the key of the Pods of a specification. The manifest names the image and the server, and the version is
/// that of the protocol, which has to be the same at both ends. Whether an image volume or an init container brings
/// the server does not count if that is left to detection: both bring the same server. One that is uploaded counts by
/// its content, which this reads, so that it may block.
///
/// # Errors
///
/// As [`build`](super::build), and [`Error::Config`] if a program cannot be read.
pub fn pool_key(
    spec: &SandboxSpec,
    options: &KubernetesOptions,
    pod: &PodOptions,
) -> Result<PoolKey> {
    let id: SandboxId = PLACEHOLDER.parse()?;
    let manifest = super::build(PodParams {
        id: &id,
        namespace: PLACEHOLDER,
        nonce: PLACEHOLDER,
        secret: &Uid::new(PLACEHOLDER),
        spec,
        options,
        pod,
        pool: None,
    })?;
    let text = serde_json::to_string(&manifest).map_err(|source| Error::Backend {
        backend: crate::names::BACKEND,
        operation: "hash the specification of a pool",
        message: "the Pod cannot be written as JSON".into(),
        transient: false,
        source: Some(Box::new(source)),
    })?;
    let mut hash = Sha256::new();
    hash.update(protocol::VERSION);
    hash.update("\n");
    hash.update(text);
    if super::uploads_server(options) {
        for architecture in options.server_programs.architectures() {
            if let Some(program) = options.server_programs.load(architecture)? {
                hash.update("\n");
                hash.update(program.sha256);
            }
        }
    }
    Ok(PoolKey::from_digest(&hash.finalize().into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::options::{Architecture, InjectVia, Injection, ServerPrograms};
    use std::time::Duration;

    fn key(change: impl FnOnce(&mut SandboxSpec, &mut KubernetesOptions)) -> PoolKey {
        let mut spec = SandboxSpec::default();
        spec.image = Some("busybox".into());
        let mut options = KubernetesOptions {
            injection: Injection::baked(),
            ..KubernetesOptions::default()
        };
        change(&mut spec, &mut options);
        let pod = PodOptions::from_spec(&spec).unwrap();
        pool_key(&spec, &options, &pod).unwrap()
    }

    #[test]
    fn a_key_depends_on_what_the_sandboxes_are() {
        type Change = fn(&mut SandboxSpec, &mut KubernetesOptions);
        let changes: [(&str, Change); 7] = [
            ("image", |spec, _| spec.image = Some("alpine".into())),
            ("memory", |spec, _| {
                spec.resources.memory = Some("64Mi".parse().unwrap());
            }),
            ("label", |spec, _| {
                _ = spec.labels.insert("a".into(), "b".into())
            }),
            ("lifetime", |spec, _| {
                spec.lifetime.max_lifetime = Duration::from_secs(60);
            }),
            ("server", |_, options| {
                options.injection = Injection::Baked {
                    path: "/opt/sshd".into(),
                };
            }),
            ("runtime class", |_, options| {
                options.pod.runtime_class_name = Some("gvisor".into());
            }),
            ("options of one sandbox", |spec, _| {
                let pod = PodOptions::new().node_selector("disk", "ssd");
                spec.backend_options.set("k8s", pod.to_value().unwrap());
            }),
        ];
        let plain = key(|_, _| {});
        for (name, change) in changes {
            assert_ne!(key(change), plain, "{name}");
            assert_eq!(key(change), key(change), "{name}");
        }
    }

    #[test]
    fn a_server_that_is_uploaded_counts_by_its_content() {
        let key_of = |byte: u8| {
            key(|_, options| {
                options.injection = Injection::Inject(InjectVia::Upload);
                let mut program = [0; 64];
                program[..6].copy_from_slice(b"\x7fELF\x02\x01");
                (program[18], program[63]) = (62, byte);
                options.server_programs = ServerPrograms::default()
                    .with_loader(Architecture::Amd64, move || Ok(program.to_vec()));
            })
        };
        assert_eq!(key_of(1), key_of(1));
        assert_ne!(key_of(1), key_of(2));
    }

    #[test]
    fn a_key_depends_neither_on_the_id_nor_on_the_namespace_nor_on_the_pool() {
        let plain = key(|_, _| {});
        let other = key(|spec, options| {
            spec.id = Some("web".parse().unwrap());
            spec.pool = Some("ci".parse().unwrap());
            options.namespace = Some("other".into());
        });
        assert_eq!(other, plain);
    }
}
