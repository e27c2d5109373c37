//! Protecting the memory of this process from other processes of the same user.

use std::io;

/// Makes this process's memory, environment and descriptors unreadable to processes of the
/// same user without privileges: no ptrace, no `/proc/PID/{mem,environ,fd,maps}`, no core dump. An
/// exec resets this, so the new program must call it again.
///
/// # Errors
///
/// If prctl(2) fails, which it does not on Linux.
pub fn hide_memory() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}
