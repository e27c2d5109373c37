//! The server, in this process and as the built binary. One program, so that its tests wait beside one another.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod binary;
mod connect;
mod guest_files;
mod in_process;
mod jobs;
mod openssh;
mod processes;
mod sftp;
#[path = "../support/mod.rs"]
mod support;
mod tree;
