//! Benchmarks: ratios against a named peer in the same run, never absolute claims.

use anyhow::{Result, bail};

mod figures;
mod k8s;
mod local;
mod openssh;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["local"] => local::run(),
        ["k8s", parts @ ..] => k8s::run(parts),
        _ => bail!("which benchmark? there are: local, k8s"),
    }
}
