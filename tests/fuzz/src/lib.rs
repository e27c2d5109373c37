//! Fuzz targets: functions that take any bytes as what a hostile server or client says, and panic
//! when the other end does what it must never do.
//!
//! The bytes are not thrown at the wire as they are, where the first one would end the connection:
//! they steer a server that speaks SSH properly and lies in what it says. `cargo test` runs a few
//! thousand cases, `cargo xtask fuzz` many, guided by the code that they reach.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how a target tells what it found"
)]

mod client;
mod command_line;
mod escape;
mod exec;
mod files;
mod home;
mod input;
mod peer;
mod requests;
mod resume;
mod server;
mod sftp;
mod tree;
mod world;

/// A name, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 7] = [
    ("exec", exec::target),
    ("files", files::target),
    ("tree", tree::target),
    ("resume", resume::target),
    ("server", server::target),
    ("escape", escape::target),
    ("command_line", command_line::target),
];
