//! Telling why this program has ended: by its exit code, and by the termination message of its
//! container.
//!
//! <https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/>

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use nix::libc;
use sandbox_sshd::EndReason;
use tokio::signal::unix::{SignalKind, signal};

/// Where Kubernetes reads the message by default. The kubelet mounts a file there that every user
/// can write, also below a read-only root.
pub(crate) const TERMINATION_LOG: &str = "/dev/termination-log";

/// Why this program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server has ended, by itself or on request.
    Server(EndReason),
    /// A signal has ended it.
    Signal(u8),
    /// There was nothing to serve, or only one connection, which has ended.
    Done,
}

impl End {
    pub(crate) fn exit_code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Server(reason) => reason.exit_code(),
            // As a shell reports it. PID 1 cannot be ended by a signal that it sends to itself.
            Self::Signal(number) => 128_u8.saturating_add(number),
            Self::Done => 0,
        })
    }

    /// Replaces the termination message, where there is one. All processes of the sandbox have
    /// ended by now, so what they wrote there is replaced for good.
    pub(crate) fn report(self, termination_log: &Path) {
        let reason = match self {
            Self::Server(reason) => reason,
            Self::Signal(_) => EndReason::Terminated,
            Self::Done => return,
        };
        match write_message(termination_log, reason.message()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "termination message not written"),
        }
    }
}

/// Writes the message to an existing file. A program in the sandbox may have put something else in
/// its place, which this neither follows nor waits for.
fn write_message(path: &Path, message: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    file.set_len(0)?;
    file.write_all(message.as_bytes())
}

/// Starts to listen for the signals that end this program, and returns a future of the first one.
///
/// # Errors
///
/// If the system does not allow to listen.
pub(crate) fn listen_for_signals() -> io::Result<impl Future<Output = End>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => End::Signal(15),
            _ = interrupt.recv() => End::Signal(2),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_replaces_what_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("termination-log");
        std::fs::write(
            &log,
            "a much longer text that a program in the sandbox wrote",
        )
        .unwrap();
        End::Server(EndReason::Idle).report(&log);
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            EndReason::Idle.message()
        );
        End::Signal(15).report(&log);
        assert_eq!(
            std::fs::read_to_string(&log).unwrap(),
            EndReason::Terminated.message()
        );
    }

    #[test]
    fn nothing_is_created_or_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        End::Server(EndReason::Idle).report(&path("absent"));
        assert!(!path("absent").exists());

        std::fs::write(path("target"), "kept").unwrap();
        std::os::unix::fs::symlink(path("target"), path("link")).unwrap();
        assert!(write_message(&path("link"), "x").is_err());
        assert_eq!(std::fs::read_to_string(path("target")).unwrap(), "kept");

        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&path("fifo"), mode).unwrap();
        assert!(
            write_message(&path("fifo"), "x").is_err(),
            "this does not wait"
        );
    }
}
