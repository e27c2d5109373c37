//! Benchmarks: ratios against a named peer in the same run, never absolute claims.

use anyhow::{Result, bail};

mod figures;
mod local;
mod openssh;

pub(crate) fn run(args: &[&str]) -> Result<()> {
    match args {
        ["local"] => local::run(),
        _ => bail!("which benchmark? there is: local"),
    }
}
