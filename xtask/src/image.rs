//! Writes the images of the SSH server and of the command as OCI archives, without Docker.
//!
//! The archives are reproducible: the same binary gives the same bytes. `kind load image-archive`,
//! `ctr images import` and `podman load` read them; `skopeo copy oci-archive:…` pushes them.
//! <https://github.com/opencontainers/image-spec/blob/main/image-layout.md>

mod build;
mod tar;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) use build::{build, is_for};
use tar::{Entry, archive};

/// Names of architectures: cargo's, and that of image manifests.
pub(crate) const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];
/// Numeric, because the image has no passwd file; the Pod's security profile sets the same user.
const USER: &str = "1000:1000";

/// The content of an image: one program at its root, which is its entry point.
#[derive(Debug)]
pub(crate) struct Content {
    /// The name of the image.
    name: &'static str,
    pub(crate) program: &'static str,
    /// The arguments of `cargo build` that build the program.
    pub(crate) build: &'static [&'static str],
}

pub(crate) const SERVER: Content = Content {
    name: "sandbox-sshd",
    program: "sandbox-sshd",
    build: &["--package", "sandbox-sshd", "--bin", "sandbox-sshd"],
};
pub(crate) const COMMAND: Content = Content {
    name: "sandbox-command",
    program: "sandbox",
    build: &["--package", "sandbox-cli", "--bin", "sandbox"],
};

struct Options {
    content: &'static Content,
    name: String,
    output: PathBuf,
    binary: Option<PathBuf>,
    architecture: (&'static str, &'static str),
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = parse(args)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(
            options.content.program,
            options.content.build,
            options.architecture.0,
            &[],
        )?,
    };
    let program = fs::read(&binary).with_context(|| format!("cannot read {}", binary.display()))?;
    ensure!(
        program.starts_with(b"\x7fELF"),
        "{} is not a Linux program (ELF)",
        binary.display()
    );
    let architecture = options.architecture.1;
    ensure!(
        is_for(&program, architecture),
        "{} is not built for {architecture}; name its architecture with --arch amd64 or --arch arm64",
        binary.display()
    );
    let image = image(options.content, &program, &options.name, architecture)?;
    if let Some(parent) = options.output.parent() {
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    fs::write(&options.output, &image)
        .with_context(|| format!("cannot write {}", options.output.display()))?;
    let file = options.output.display();
    println!(
        "{} ({architecture}, {} bytes): {file}",
        options.name,
        image.len()
    );
    println!("  kind load image-archive {file}");
    let what = options.content.name;
    println!(
        "  skopeo copy oci-archive:{file} docker://REGISTRY/{what}:{}",
        env!("CARGO_PKG_VERSION")
    );
    if what == SERVER.name {
        println!(
            "then set SANDBOX_SERVER_IMAGE={} (or its name in the registry)",
            options.name
        );
    } else {
        println!("then put its name in the registry into deploy/kustomization.yaml");
    }
    Ok(())
}

fn parse(args: &[&str]) -> Result<Options> {
    let version = env!("CARGO_PKG_VERSION");
    let content = if args.contains(&"--command") {
        &COMMAND
    } else {
        &SERVER
    };
    let mut options = Options {
        content,
        name: format!("localhost/{}:{version}", content.name),
        output: format!("target/{}-{version}.oci.tar", content.name).into(),
        binary: None,
        architecture: ARCHITECTURES
            .into_iter()
            .find(|(cargo, _)| *cargo == std::env::consts::ARCH)
            .unwrap_or(ARCHITECTURES[0]),
    };
    let mut args = args.iter().filter(|flag| **flag != "--command");
    while let Some(flag) = args.next() {
        let value = args
            .next()
            .with_context(|| format!("{flag} needs a value"))?;
        match *flag {
            "--name" => options.name = (*value).to_owned(),
            "--output" => options.output = value.into(),
            "--binary" => options.binary = Some(value.into()),
            "--arch" => {
                let known = ARCHITECTURES.into_iter().find(|(_, image)| image == value);
                options.architecture =
                    known.with_context(|| format!("{value} is not amd64 or arm64"))?;
            }
            other => bail!("unknown option {other:?} of cargo xtask image"),
        }
    }
    ensure!(
        options
            .name
            .rsplit('/')
            .next()
            .is_some_and(|last| last.contains(':')),
        "the name {:?} has no tag: use name:tag",
        options.name
    );
    Ok(options)
}

/// The archive of an image.
fn image(content: &Content, program: &[u8], name: &str, architecture: &str) -> Result<Vec<u8>> {
    let entry = content.program;
    let layer = archive(&[
        Entry::Directory("tmp", 0o1777),
        Entry::File(entry, program, 0o755),
    ])?;
    let config = to_json(&json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"User": USER, "Entrypoint": [format!("/{entry}")], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        "history": [{"created_by": format!("{} {}", content.name, env!("CARGO_PKG_VERSION"))}],
    }))?;
    let manifest = to_json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
    }))?;
    let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
    let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    described["platform"] = json!({"architecture": architecture, "os": "linux"});
    described["annotations"] = json!({
        // containerd reads its own annotation, other readers that of the specification.
        "io.containerd.image.name": name,
        "org.opencontainers.image.ref.name": tag,
    });
    let index = to_json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    }))?;
    // kind and docker read this manifest of docker's own format.
    let docker = to_json(&json!([{
        "Config": blob(&config),
        "RepoTags": [name],
        "Layers": [blob(&layer)],
    }]))?;
    let layout = to_json(&json!({"imageLayoutVersion": "1.0.0"}))?;
    let blobs = [blob(&config), blob(&layer), blob(&manifest)];
    archive(&[
        Entry::Directory("blobs", 0o755),
        Entry::Directory("blobs/sha256", 0o755),
        Entry::File(&blobs[0], &config, 0o644),
        Entry::File(&blobs[1], &layer, 0o644),
        Entry::File(&blobs[2], &manifest, 0o644),
        Entry::File("index.json", &index, 0o644),
        Entry::File("manifest.json", &docker, 0o644),
        Entry::File("oci-layout", &layout, 0o644),
    ])
}

fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(content), "size": content.len()})
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", hash(content))
}

fn blob(content: &[u8]) -> String {
    format!("blobs/sha256/{}", hash(content))
}

pub(crate) fn hash(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).context("cannot serialise JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_server_gives_the_same_archive() {
        let build =
            |server: &[u8]| image(&SERVER, server, "localhost/sandbox-sshd:1", "amd64").unwrap();
        assert_eq!(build(b"\x7fELF one"), build(b"\x7fELF one"));
        assert_ne!(build(b"\x7fELF one"), build(b"\x7fELF two"));
    }

    #[test]
    fn every_blob_has_the_digest_in_its_name() {
        let image = image(&COMMAND, b"\x7fELF", "localhost/sandbox-sshd:1", "arm64").unwrap();
        let files = tar::read(&image);
        let mut blobs = 0;
        for (name, content) in &files {
            if let Some(named) = name
                .strip_prefix("blobs/sha256/")
                .filter(|named| !named.is_empty())
            {
                assert_eq!(named, hash(content));
                blobs += 1;
            }
        }
        assert_eq!(blobs, 3);
        let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
        let manifest = index["manifests"][0]["digest"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap();
        let manifest: Value =
            serde_json::from_slice(&files[&format!("blobs/sha256/{manifest}")]).unwrap();
        let layer = manifest["layers"][0]["digest"]
            .as_str()
            .unwrap()
            .strip_prefix("sha256:")
            .unwrap();
        let layer = tar::read(&files[&format!("blobs/sha256/{layer}")]);
        assert_eq!(layer[COMMAND.program], b"\x7fELF");
    }

    #[test]
    fn an_error_names_the_wrong_argument() {
        for (args, expected) in [
            (&["--nmae", "x:1"][..], "--nmae"),
            (&["--name"], "value"),
            (&["--name", "no-tag"], "tag"),
            (&["--name", "registry:5000/no-tag"], "tag"),
            (&["--arch", "mips"], "mips"),
        ] {
            let error = parse(args).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert_eq!(
            parse(&["--command"]).unwrap().name.split(':').next(),
            Some("localhost/sandbox-command")
        );
        assert!(parse(&["--name", "registry:5000/x:2", "--arch", "arm64"]).is_ok());
        let missing = run(&["--binary", "/nonexistent/server"])
            .unwrap_err()
            .to_string();
        assert!(missing.contains("/nonexistent/server"), "{missing}");
    }
}
