//! The options of `cargo xtask e2e`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

#[derive(Debug)]
pub(super) struct Options {
    pub(super) target: Target,
    /// A shell command that loads an image archive into the cluster; `{}` stands for the archive's
    /// path.
    pub(super) load: Option<String>,
    pub(super) transports: Vec<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// A new kind cluster for this run.
    Kind,
    Existing {
        kubeconfig: PathBuf,
        context: Option<String>,
    },
}

const TRANSPORTS: [&str; 3] = ["auto", "port-forward", "direct"];

impl Options {
    pub(super) fn parse(args: &[&str]) -> Result<Self> {
        let (mut context, mut kubeconfig, mut load, mut transports) = (None, None, None, None);
        let mut args = args.iter();
        while let Some(flag) = args.next() {
            let value = || {
                args.clone()
                    .next()
                    .with_context(|| format!("{flag} needs a value"))
            };
            match *flag {
                "--context" => context = Some((*value()?).to_owned()),
                "--kubeconfig" => kubeconfig = Some(PathBuf::from(value()?)),
                "--load" => load = Some((*value()?).to_owned()),
                "--transport" => {
                    transports = Some(value()?.split(',').map(str::to_owned).collect::<Vec<_>>())
                }
                other => bail!("unknown option {other:?} of cargo xtask e2e"),
            }
            args.next();
        }
        let target = match (kubeconfig, context) {
            (None, None) => Target::Kind,
            (Some(kubeconfig), context) => {
                ensure!(
                    kubeconfig.is_file(),
                    "the kubeconfig {} does not exist",
                    kubeconfig.display()
                );
                Target::Existing {
                    kubeconfig: std::path::absolute(kubeconfig)?,
                    context,
                }
            }
            (None, context) => Target::Existing {
                kubeconfig: default_kubeconfig()?,
                context,
            },
        };
        if let Some(load) = &load {
            ensure!(
                load.contains("{}"),
                "--load {load:?} has no {{}}, which stands for the archive's path"
            );
        }
        // Pod addresses are reachable from outside on few clusters only, so `direct` is not a
        // default; `auto` tries both.
        let transports = transports.unwrap_or_else(|| vec!["auto".into(), "port-forward".into()]);
        if let Some(wrong) = transports
            .iter()
            .find(|name| !TRANSPORTS.contains(&name.as_str()))
        {
            bail!(
                "--transport {wrong:?} is not one of {}",
                TRANSPORTS.join(", ")
            );
        }
        Ok(Self {
            target,
            load,
            transports,
        })
    }
}

/// The file that kubectl reads by default.
fn default_kubeconfig() -> Result<PathBuf> {
    let named = std::env::var_os("KUBECONFIG")
        .filter(|value| !value.is_empty())
        .map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".kube/config"));
    let file = named.or_else(home).filter(|file| file.is_file());
    file.context("--context names a context of which kubeconfig? name the file with --kubeconfig")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_named() {
        for (args, said) in [
            (&["--contxet", "x"][..], "--contxet"),
            (&["--load"], "value"),
            (&["--load", "import"], "{}"),
            (
                &["--kubeconfig", "/nonexistent/config"],
                "/nonexistent/config",
            ),
            (&["--transport", "auto,pigeon"], "pigeon"),
        ] {
            let error = Options::parse(args).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_cluster_of_kinds_is_the_default() {
        let options = Options::parse(&["--transport", "direct"]).unwrap();
        assert_eq!(
            (options.target, options.transports),
            (Target::Kind, vec!["direct".to_owned()])
        );
    }
}
