//! What holds against every server, and what one of them has or lacks: OpenSSH, dropbear, sandbox-sshd.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod dropbear;
mod openssh;
mod sandbox_sshd;
#[path = "../support/mod.rs"]
mod support;
