//! OpenSSH's own clients, unmodified, against the built binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

/// Skips the test if a program is missing.
macro_rules! require {
    ($($peer:expr),+) => {
        $(if !$peer.is_available() { return; })+
    };
}

mod commands;
mod connections;
#[path = "../support/mod.rs"]
mod support;
mod transfers;

/// Timeout of a condition that is expected within a second.
const LONG: Duration = Duration::from_secs(20);
