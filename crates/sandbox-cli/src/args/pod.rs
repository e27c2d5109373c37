//! What a sandbox is asked for that only a cluster can give.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sandbox::SandboxBuilder;
use serde_json::{Value, json};

/// No such file is larger than this.
const MOST: u64 = 1 << 20;

#[derive(clap::Args)]
pub(crate) struct PodArgs {
    /// GPUs, as nvidia.com/gpu (Kubernetes)
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    gpus: Option<u32>,
    /// What else its Pod shall have, from a YAML or JSON file; - reads standard input (Kubernetes)
    ///
    /// Its fields have Kubernetes' own names: nodeSelector, tolerations, volumes, hostAliases,
    /// requests, extendedResources, annotations, serviceAccountName, runtimeClassName,
    /// priorityClassName, imagePullSecrets, imagePullPolicy, securityProfile, runAsUser; anything
    /// else of a Pod goes under patch.
    #[arg(long, value_name = "FILE")]
    pod_options: Option<PathBuf>,
}

impl PodArgs {
    pub(crate) fn apply(&self, builder: SandboxBuilder) -> Result<SandboxBuilder> {
        let mut options = match &self.pod_options {
            Some(file) => read(file)?,
            None => json!({}),
        };
        let Some(fields) = options.as_object_mut() else {
            bail!("--pod-options: write an object, such as {{nodeSelector: {{disk: ssd}}}}");
        };
        if let Some(count) = self.gpus {
            let devices = fields
                .entry("extendedResources")
                .or_insert_with(|| json!({}));
            match devices.as_object_mut() {
                Some(devices) => devices.insert("nvidia.com/gpu".into(), json!(count.to_string())),
                None => bail!(
                    "--pod-options: extendedResources is no object, such as {{nvidia.com/gpu: 1}}"
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
    let read = match path.to_str() {
        Some("-") => io::stdin().take(MOST + 1).read_to_string(&mut text),
        _ => File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut text)),
    };
    read.with_context(|| format!("--pod-options: cannot read {shown}"))?;
    if text.len() as u64 > MOST {
        bail!("--pod-options: {shown} is larger than {MOST} bytes");
    }
    parse(&text).with_context(|| format!("--pod-options: {shown} is neither YAML nor JSON"))
}

/// YAML, of which JSON is a part; an empty text asks for nothing.
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
    fn yaml_and_json_are_read_alike() {
        let yaml = "# disks\nnodeSelector:\n  disk: ssd\ntolerations:\n- {key: gpu, operator: Exists}\nrunAsUser: 7\n";
        let json = r#"{"nodeSelector": {"disk": "ssd"}, "tolerations": [{"key": "gpu", "operator": "Exists"}], "runAsUser": 7}"#;
        assert_eq!(parse(yaml).unwrap(), parse(json).unwrap());
        assert_eq!(
            parse(json).unwrap(),
            serde_json::from_str::<Value>(json).unwrap()
        );
        for nothing in ["", "# nothing\n", "null"] {
            assert_eq!(parse(nothing).unwrap(), json!({}), "{nothing:?}");
        }
        for wrong in ["{", "a: b: c", "a: 1\na: 2"] {
            parse(wrong).unwrap_err();
        }
    }
}
