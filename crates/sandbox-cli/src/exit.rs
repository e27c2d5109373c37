//! Exit codes.

/// The exit code of a subcommand, or why it failed.
pub(crate) type Outcome = anyhow::Result<u8>;

/// This program failed (the same code as docker's).
pub(crate) const EXIT_FAILURE: u8 = 125;
/// The command timed out (the same code as that of timeout(1)).
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
