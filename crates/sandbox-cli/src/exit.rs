//! Exit codes.

/// The exit code of a subcommand, or why it failed.
pub(crate) type Outcome = anyhow::Result<u8>;

/// This program failed (the same code as docker's).
pub(crate) const EXIT_FAILURE: u8 = 125;
/// A copy is incomplete: some files could not be copied (the same code as rsync's).
pub(crate) const EXIT_PARTIAL: u8 = 23;
/// The command timed out (the same code as that of timeout(1)).
pub(crate) const EXIT_TIMED_OUT: u8 = 124;
