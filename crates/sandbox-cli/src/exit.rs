//! Exit codes.

/// The exit code of a subcommand.
pub(crate) type Outcome = anyhow::Result<u8>;

/// This program failed, as docker says it.
pub(crate) const EXIT_FAILURE: u8 = 125;
/// The command ran longer than it was allowed to, as timeout(1) says it.
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
