//! The log of a sandbox.

use std::io;

use rustix::fs::{Mode, OFlags};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::linux::state::SandboxDir;

/// Opens the log as standard error, and directs the traces of this crate and the server to it.
pub(super) fn open_log(dir: &SandboxDir) -> io::Result<()> {
    let log = rustix::fs::open(
        dir.log(),
        OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?;
    rustix::stdio::dup2_stderr(&log)?;
    let targets = Targets::new()
        .with_default(Level::WARN)
        .with_target("sandbox_local", Level::INFO)
        .with_target("sandbox_sshd", Level::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false);
    // This fails if there is a subscriber already, which then writes the log.
    drop(
        tracing_subscriber::registry()
            .with(lines)
            .with(targets)
            .try_init(),
    );
    Ok(())
}
