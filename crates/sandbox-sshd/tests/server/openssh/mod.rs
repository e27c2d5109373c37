//! OpenSSH's own clients, unmodified, against the built binary.

use std::time::Duration;

/// Skips the test if a program is missing.
macro_rules! require {
    ($($peer:expr),+) => {
        $(if !$peer.is_available() { return; })+
    };
}

mod commands;
mod connections;
mod transfers;

/// Timeout of a condition that is expected within a second.
const LONG: Duration = Duration::from_secs(20);
