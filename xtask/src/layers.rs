//! Checks which crate may depend on which, using the dependency graph that cargo resolves.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// A crate, the flags to resolve it with, and the crates that it must not depend on.
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
        package: "sandbox-net",
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
        package: "sandbox-egress",
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
        package: "sandbox-conformance",
        flags: &[],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
    Rule {
        package: "sandbox-python",
        flags: &[],
        forbidden: &["sandbox-gateway", "sandbox-cli"],
    },
    Rule {
        package: "sandbox-gateway",
        flags: &[],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
    Rule {
        package: "sandbox-mcp",
        flags: &[],
        forbidden: &["sandbox-sshd", "sandbox-local"],
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
        flags: &["--no-default-features", "--features", METRICS],
        forbidden: &["sandbox-sshd", "sandbox-local"],
    },
];

/// The feature and the crate of the same name, which only the feature may bring in.
const METRICS: &str = "metrics";

/// Crates that must not be in any graph: a second crypto provider, a second TLS implementation.
const FORBIDDEN_EVERYWHERE: &[&str] = &["aws-lc-rs", "aws-lc-sys", "openssl-sys"];

pub(crate) fn check() -> Result<()> {
    let mut broken = Vec::new();
    for rule in RULES {
        let found = dependencies(rule)?;
        let may_use_kubernetes = ["sandbox-k8s", "sandbox-python"].contains(&rule.package)
            || rule.flags.contains(&"k8s");
        let also = if may_use_kubernetes {
            &[][..]
        } else {
            KUBERNETES
        };
        for name in rule
            .forbidden
            .iter()
            .chain(also)
            .chain(FORBIDDEN_EVERYWHERE)
            .filter(|name| found.contains(**name))
        {
            broken.push(format!(
                "{} {} depends on {name}",
                rule.package,
                rule.flags.join(" ")
            ));
        }
        // The gateway is a program that serves metrics.
        let is_expected = rule.flags.contains(&METRICS) || rule.package == "sandbox-gateway";
        if found.contains(METRICS) != is_expected {
            let how = if is_expected {
                "does not depend"
            } else {
                "depends"
            };
            broken.push(format!(
                "{} {} {how} on {METRICS}",
                rule.package,
                rule.flags.join(" ")
            ));
        }
        println!(
            "{:<20}{:<44}{} crates",
            rule.package,
            rule.flags.join(" "),
            found.len()
        );
    }
    if broken.is_empty() {
        Ok(())
    } else {
        bail!(
            "a crate depends on one that it must not depend on:\n  {}",
            broken.join("\n  ")
        )
    }
}

/// The names of all dependencies of a crate, as cargo resolves them for it alone.
fn dependencies(rule: &Rule) -> Result<BTreeSet<String>> {
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
        .context("cannot start cargo tree")?;
    if !output.status.success() {
        bail!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = String::from_utf8(output.stdout).context("the output of cargo tree is not UTF-8")?;
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
