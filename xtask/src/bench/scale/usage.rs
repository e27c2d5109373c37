//! What this process has used.

use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::figures::Cost;

/// The beginning of something that is measured.
pub(super) struct Begun {
    at: Instant,
    cpu_seconds: f64,
}

impl Begun {
    pub(super) fn now() -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            cpu_seconds: cpu_seconds()?,
        })
    }

    pub(super) fn cost(&self) -> Result<Cost> {
        Ok(Cost {
            seconds: self.at.elapsed().as_secs_f64(),
            cpu_seconds: cpu_seconds()? - self.cpu_seconds,
        })
    }
}

fn cpu_seconds() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e6)
}

/// The resident memory in bytes.
pub(super) fn resident_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    let kib: u64 = kib
        .context("this system does not tell the memory in use")?
        .parse()?;
    Ok(kib * 1024)
}
