//! Turns the exit status of a program into an error.

use std::process::ExitStatus;

use anyhow::{Context, Result, bail};

/// Fails if a program did not start or did not succeed.
pub(super) fn require_success(status: std::io::Result<ExitStatus>, what: &str) -> Result<()> {
    let status = status.with_context(|| format!("{what} could not be started"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{what} failed: {status}")
    }
}
