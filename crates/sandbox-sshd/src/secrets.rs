//! Keeping this process's memory from those of the same user.

use std::io;

/// Makes this process's memory, environment and descriptors unreadable to processes of the
/// same user without privileges: no ptrace, no `/proc/PID/{mem,environ,fd,maps}`, no core
/// dump. It must be called again after every exec, which undoes it.
///
/// # Errors
///
/// When the system refuses, which Linux does not.
pub fn hide_memory() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}
