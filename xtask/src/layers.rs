//! Which crate may depend on which, asserted on what cargo resolves.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A crate with the flags to resolve it by, and what must not be found beneath it.
struct Rule {
    package: &'static str,
    flags: &'static [&'static str],
    forbidden: &'static [&'static str],
}

const KUBERNETES: &[&str] = &["kube", "kube-client", "k8s-openapi", "sandbox-k8s"];

const RULES: &[Rule] = &[
    Rule {
        package: "sandbox-core",
        flags: &[],
        forbidden: &[
            "russh",
            "russh-sftp",
            "mio",
            "socket2",
            "sandbox-config",
            "sandbox-ssh",
            "sandbox-sshd",
            "sandbox-local",
        ],
    },
    Rule {
        package: "sandbox-config",
        flags: &[],
        forbidden: &[
            "russh",
            "tokio-util",
            "sandbox-ssh",
            "sandbox-sshd",
            "sandbox-local",
        ],
    },
    Rule {
        package: "sandbox-ssh",
        flags: &[],
        forbidden: &["sandbox-config", "sandbox-sshd", "sandbox-local"],
    },
    Rule {
        package: "sandbox-sshd",
        flags: &[],
        forbidden: &["sandbox-config", "sandbox-ssh", "sandbox-local"],
    },
    Rule {
        package: "sandbox-tcp",
        flags: &[],
        forbidden: &[
            "russh",
            "sandbox-config",
            "sandbox-core",
            "sandbox-ssh",
            "sandbox-sshd",
            "sandbox-local",
        ],
    },
    Rule {
        package: "sandbox-local",
        flags: &[],
        forbidden: &["sandbox-config", "sandbox-ssh"],
    },
    Rule {
        package: "sandbox-k8s",
        flags: &[],
        forbidden: &[
            "russh",
            "sandbox-config",
            "sandbox-ssh",
            "sandbox-sshd",
            "sandbox-local",
        ],
    },
    Rule {
        package: "sandbox",
        flags: &["--no-default-features"],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
    Rule {
        package: "sandbox",
        flags: &["--no-default-features", "--features", "local"],
        forbidden: KUBERNETES,
    },
    Rule {
        package: "sandbox",
        flags: &["--no-default-features", "--features", "k8s"],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
    Rule {
        package: "sandbox",
        flags: &["--no-default-features", "--features", MEASURED],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
];

/// Only who asks for the feature of that name gets it.
const MEASURED: &str = "metrics";

/// Nobody may bring these: a second crypto provider, a second TLS.
const NOWHERE: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl-sys"];

pub(crate) fn check() -> Result<()> {
    let mut broken = Vec::new();
    for rule in RULES {
        let found = tree(rule)?;
        let knows = rule.package == "sandbox-k8s" || rule.flags.contains(&"k8s");
        let also = if knows { &[][..] } else { KUBERNETES };
        for name in rule
            .forbidden
            .iter()
            .chain(also)
            .chain(NOWHERE)
            .filter(|name| found.contains(**name))
        {
            broken.push(format!(
                "{} {} depends on {name}",
                rule.package,
                rule.flags.join(" ")
            ));
        }
        let asked = rule.flags.contains(&MEASURED);
        if found.contains(MEASURED) != asked {
            let how = if asked { "does not depend" } else { "depends" };
            broken.push(format!(
                "{} {} {how} on {MEASURED}",
                rule.package,
                rule.flags.join(" ")
            ));
        }
        println!(
            "{:<16}{:<44}{} crates",
            rule.package,
            rule.flags.join(" "),
            found.len()
        );
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!("the layers are broken:\n  {}", broken.join("\n  "))
    }
}

/// The names of all crates beneath one, as cargo resolves them for it alone.
fn tree(rule: &Rule) -> Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--package",
            rule.package,
        ])
        .args(rule.flags)
        .output()
        .context("cargo tree could not be started")?;
    if !output.status.success() {
        bail!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8(output.stdout).context("cargo tree wrote no text")?;
    let names: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    if !names.contains(rule.package) {
        bail!("cargo tree did not show {}", rule.package);
    }
    Ok(names)
}
