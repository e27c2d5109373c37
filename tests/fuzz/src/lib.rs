//! Fuzz targets: functions that interpret any bytes as the messages of a hostile server or client,
//! and panic if the other end does something that it must never do.
//!
//! The bytes are not sent as they are, because the first one would end the connection. They control
//! a server that speaks SSH correctly and sends false content. `cargo test` runs a few thousand
//! cases, `cargo xtask fuzz` many more, guided by coverage.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a target reports its findings with a panic"
)]

mod client;
mod command_line;
mod escape;
mod exec;
mod exec_reply;
mod files;
mod guest;
mod guest_frames;
mod home;
mod input;
mod peer;
mod requests;
mod resume;
mod server;
mod sftp;
mod tree;
mod tree_frames;
mod world;

/// The name of a target, and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 8] = [
    ("exec", exec::target),
    ("files", files::target),
    ("guest", guest::target),
    ("tree", tree::target),
    ("resume", resume::target),
    ("server", server::target),
    ("escape", escape::target),
    ("command_line", command_line::target),
];
