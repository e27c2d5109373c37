//! Options of a new sandbox that only Kubernetes has.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sandbox::SandboxBuilder;
use serde_json::{Value, json};

use crate::ui::stdio::Stdin;

/// The maximum size of a `--pod-options` file.
const MAX_SIZE: u64 = 1 << 20;

/// Options of the sandbox's Pod.
#[derive(clap::Args)]
pub(crate) struct PodArgs {
    /// Number of GPUs, as nvidia.com/gpu (Kubernetes)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    gpus: Option<u32>,
    /// Read more options of the Pod from a YAML or JSON file, or from stdin if FILE is -
    /// (Kubernetes)
    ///
    /// Fields, named as in Kubernetes: nodeSelector, tolerations, volumes, hostAliases, requests,
    /// extendedResources, annotations, serviceAccountName, runtimeClassName, priorityClassName,
    /// imagePullSecrets, imagePullPolicy, securityProfile, runAsUser. Put any other field of a Pod
    /// under patch.
    #[arg(long, value_name = "FILE")]
    pod_options: Option<PathBuf>,
}

impl PodArgs {
    /// Adds these options to the description of a sandbox.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or does not contain an object.
    pub(crate) fn apply(&self, builder: SandboxBuilder) -> Result<SandboxBuilder> {
        let mut options = match &self.pod_options {
            Some(file) => read(file)?,
            None => json!({}),
        };
        let Some(fields) = options.as_object_mut() else {
            bail!(
                "--pod-options: the file contains no object; write one, such as {{nodeSelector: {{disk: ssd}}}}"
            );
        };
        if let Some(count) = self.gpus {
            let devices = fields
                .entry("extendedResources")
                .or_insert_with(|| json!({}));
            match devices.as_object_mut() {
                Some(devices) => devices.insert("nvidia.com/gpu".into(), json!(count.to_string())),
                None => bail!(
                    "--pod-options: extendedResources is not an object; write one, such as {{nvidia.com/gpu: 1}}"
                ),
            };
        }
        Ok(if fields.is_empty() {
            builder
        } else {
            builder.backend_options("k8s", options)
        })
    }
}

fn read(path: &Path) -> Result<Value> {
    let shown = path.display();
    let mut text = String::new();
    let result = match path.to_str() {
        Some("-") => Stdin.take(MAX_SIZE + 1).read_to_string(&mut text),
        _ => File::open(path).and_then(|file| file.take(MAX_SIZE + 1).read_to_string(&mut text)),
    };
    result.with_context(|| format!("--pod-options: cannot read {shown}"))?;
    if text.len() as u64 > MAX_SIZE {
        bail!("--pod-options: {shown} is larger than {MAX_SIZE} bytes");
    }
    parse(&text).with_context(|| format!("--pod-options: {shown} is neither YAML nor JSON"))
}

/// Parses YAML, which includes JSON. An empty text sets no option.
fn parse(text: &str) -> Result<Value> {
    let value: Option<Value> = serde_saphyr::from_str(text)?;
    Ok(value
        .filter(|value| !value.is_null())
        .unwrap_or_else(|| json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_and_json_give_the_same_options() {
        let yaml = "# disks\nnodeSelector:\n  disk: ssd\ntolerations:\n- {key: gpu, operator: Exists}\nrunAsUser: 7\n";
        let json = r#"{"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}], "runAsUser": 7}"#;
        assert_eq!(parse(yaml).unwrap(), parse(json).unwrap());
        assert_eq!(
            parse(json).unwrap(),
            serde_json::from_str::<Value>(json).unwrap()
        );
        for empty in ["", "# nothing\n", "null"] {
            assert_eq!(parse(empty).unwrap(), json!({}), "{empty:?}");
        }
        for invalid in ["{", "a: b: c", "a: 1\na: 2"] {
            parse(invalid).unwrap_err();
        }
    }
}
