//! The log of a sandbox.

use std::io::{self, Write};

use rustix::fs::{Mode, OFlags};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::linux::state::SandboxDir;

/// The size in bytes at which the log ends. Commands can cause log lines, and the log is outside the
/// sandbox's disk limit.
const MAX_SIZE: u64 = 1 << 20;
const LAST_LINE: &[u8] = b"the log has reached its maximum size; nothing more is logged\n";

/// Standard error up to the maximum size of the log.
struct LimitedLog;

impl Write for LimitedLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let size = u64::try_from(rustix::fs::fstat(io::stderr())?.st_size).unwrap_or(0);
        if size < MAX_SIZE {
            io::stderr().write_all(line)?;
            if size + line.len() as u64 >= MAX_SIZE {
                io::stderr().write_all(LAST_LINE)?;
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

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
        .with_writer(|| LimitedLog)
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
