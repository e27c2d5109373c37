//! The conformance suite: tests that every backend must pass, run through the facade as a program
//! uses it.
//!
//! The repository runs it on its own backends: `tests/local.rs` on the local one, `tests/k8s` on a
//! cluster. An implementation of [`SandboxBackend`](sandbox::SandboxBackend) in another repository
//! can run it as well.
//!
//! # Running it on another backend
//!
//! Write an integration test without libtest's harness (`harness = false` of its `[[test]]` in
//! Cargo.toml), which builds clients of the backend and passes them to [`trials`]. Here the local
//! backend stands for yours:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use std::sync::Arc;
//!
//! use libtest_mimic::Arguments;
//! use sandbox::{Client, Defaults};
//! use sandbox_conformance::TestedBackend;
//! use sandbox_local::{LocalBackend, LocalOptions, UnixConnector};
//! use sandbox_ssh::{SshOptions, SshSessions};
//!
//! fn new_client(defaults: Defaults) -> Client {
//!     let backend = LocalBackend::new(LocalOptions::default()).expect("a backend");
//!     let sessions = SshSessions::new(Arc::new(UnixConnector::new()), SshOptions::default());
//!     Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults)
//! }
//!
//! fn main() -> ExitCode {
//!     sandbox::local::init(); // only for the local backend
//!     let runtime = tokio::runtime::Runtime::new().expect("a runtime");
//!     let backend = TestedBackend::new(new_client);
//!     let trials = sandbox_conformance::trials(&backend, runtime.handle());
//!     libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
//! }
//! ```
//!
//! Each call of the function must return a client that shares nothing with the others, because the
//! tests use several as if they were several programs. If the backend needs an image, set it in
//! `Defaults::image`: one with `sh` and the usual tools of a small system, such as busybox. The cases of [`ALONE`] fail if
//! others fill the memory of the process meanwhile.
//!
//! A backend without some feature can leave out the tests of it: each module has its own list of
//! [`Case`]s, and [`Case::name`] can be filtered. [`Case`] also helps to write tests of your
//! backend alone.

// These are tests: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod case;
pub mod commands;
pub mod dropped_creations;
pub mod dropped_trees;
pub mod files;
pub mod guest_files;
pub mod jobs;
pub mod lifecycle;
pub mod moving_trees;
pub mod odd_input;
pub mod pausing;
pub mod pools;
pub mod ports;
pub mod processes;
pub mod resuming;
mod support;
pub mod targets;
pub mod trees;
pub mod watching;

use libtest_mimic::Trial;
use tokio::runtime::Handle;

pub use case::{Case, Outcome, TestedBackend};

/// The ends of the names of cases that measure the memory of this process: they have to run before the others, and one
/// after another.
pub const ALONE: &[&str] = &["commands::a_gibibyte_of_output_is_capped_in_little_memory"];

/// All cases as trials of one backend, which run on `runtime`.
pub fn trials(backend: &TestedBackend, runtime: &Handle) -> Vec<Trial> {
    all_cases()
        .into_iter()
        .map(|case| case.into_trial(backend.clone(), runtime.clone()))
        .collect()
}

/// The cases of all modules.
pub fn all_cases() -> Vec<Case> {
    [
        commands::cases(),
        files::cases(),
        guest_files::cases(),
        jobs::cases(),
        lifecycle::cases(),
        moving_trees::cases(),
        dropped_creations::cases(),
        dropped_trees::cases(),
        odd_input::cases(),
        pausing::cases(),
        pools::cases(),
        ports::cases(),
        processes::cases(),
        resuming::cases(),
        targets::cases(),
        trees::cases(),
        watching::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
