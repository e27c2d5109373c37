//! Sandboxes: isolated places to run commands and keep files for a while.
//!
//! A sandbox is a confined process tree on this machine, or a Kubernetes Pod; a program that
//! uses one does not see which. It is created, commands run in it over SSH, files go in and
//! out over SFTP, and it is taken away again, by itself if need be.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sandbox::prelude::*;
//!
//! fn main() -> Result<()> {
//!     sandbox::local::init(); // first, before any thread: local sandboxes begin here
//!     run()
//! }
//!
//! #[tokio::main]
//! async fn run() -> Result<()> {
//!     let client = Client::from_env().await?;
//!     let sbx = client.sandbox().memory("512Mi").ttl(Duration::from_secs(1800)).create().await?;
//!
//!     // A program and its arguments; a failure of it is no error until it is asked to be one.
//!     let out = sbx.command("python3").args(["-c", "print(6*7)"]).output().await?.check()?;
//!     print!("{}", out.stdout_lossy());
//!
//!     // Output as it comes; the input, signals and the terminal's size go the other way.
//!     let mut build = sbx.shell("make 2>&1").spawn().await?;
//!     while let Some(event) = build.next().await {
//!         println!("{:?}", event?);
//!     }
//!
//!     sbx.upload("data.csv", "data.csv").await?; // relative to the sandbox's home
//!     let report = sbx.files().read("report.json").await?;
//!
//!     let server = sbx.command("python3").args(["-m", "http.server"]).spawn_detached().await?;
//!     let web = sbx.forward(8000).await?;
//!     println!("http://{}", web.local_addr());
//!
//!     sbx.delete().await
//! }
//! ```
//!
//! # What is where
//!
//! | for | see |
//! |---|---|
//! | making and finding sandboxes | [`Client`], [`SandboxBuilder`] |
//! | commands | [`Sandbox::command`], [`Sandbox::shell`], [`Process`], [`Output`] |
//! | background jobs | [`Command::spawn_detached`], [`Sandbox::jobs`], [`Job`] |
//! | files | [`Sandbox::files`], [`Sandbox::upload`], [`Sandbox::download_dir`] |
//! | ports | [`Sandbox::forward`] |
//! | the original Python SDK's words, by id | [`Client::create_sandbox`] and those beside it |
//! | `ssh` and other clients | [`Client::access`], [`Client::open_ssh_stream`] |
//! | failures | [`Error`] |
//! | another backend, or mocks | [`Client::with_parts`], [`SandboxBackend`], [`SessionSource`] |
//!
//! # Dropping and deleting
//!
//! Dropping a future ends what it was doing: a command is hung up on, a half-made sandbox is
//! taken away, a half-written file is removed. Dropping a [`Sandbox`] deletes nothing; see
//! there for how each sandbox ends by itself.
//!
//! # Features
//!
//! * `local` (default): sandboxes on this machine (Linux).
//! * `k8s`: Pods of a Kubernetes cluster.
//! * `metrics`: counters and histograms of what the SDK does, for the recorder that a program has
//!   installed, by the crate [metrics](https://docs.rs/metrics).
//! * `mock`: [mockall](https://docs.rs/mockall) mocks of the traits, for the unit tests of
//!   programs that use them.

mod attach;
mod backends;
mod builder;
mod by_id;
mod client;
mod command;
mod copy;
mod create;
mod explain;
mod files;
mod forward;
mod handle;
mod job;
mod known;
mod local_file;
mod memory;
mod meter;
mod other_clients;
pub mod prelude;
mod resume;
mod transfer;
mod tree;
mod unanswered;
mod watch;

pub use builder::SandboxBuilder;
pub use client::{Client, Defaults};
pub use command::Command;
pub use files::Files;
pub use forward::Forward;
pub use handle::Sandbox;
pub use job::Job;
pub use transfer::{Discarded, Transfer, TransferProgress, TransferReport};
pub use tree::{Skipped, TreeLimits, TreeReport};
pub use watch::{Watch, WatchEvent, WatchEventKind};

pub use sandbox_config::Settings;
pub use sandbox_core::dialect::JobRecord;
pub use sandbox_core::{
    Access, AppliedLimit, AttachOptions, BackendOptions, BoxError, ByteSize, ByteStream, Capabilities, Check,
    CommandCause, ConnectionError, ConnectionStage, Connector, ControlMessage, Cpu, CreationError,
    CreationReason, CreationStage, Deadline, DeleteOptions, Diagnosis, Direction, DownloadRequest, Endpoint,
    Env, Error, EventStream, ExecEvent, ExecRequest, ExitStatus, FileInfo, FileKind, Freshness, HostKeyProbe,
    Isolation, JobId, KeyPair, Lifetime, LimitScope, LimitSupport, ListFilter, LogOptions, LogStream, Output,
    PrivateKey, Process, ProcessControl, ProcessDriver, ProcessStdin, Program, Pty, PtySize, PublicKey,
    Reader, Resources, Result, SandboxBackend, SandboxEvent, SandboxEventKind, SandboxId, SandboxInfo,
    SandboxSpec, SandboxState, Session, SessionSource, Signal, SweepOptions, SweepReport, Swept,
    TransferError, TransferReason, Uid, Unswept, UploadRequest, Verdict, Writer, partial_name, rfc3339,
};
#[cfg(feature = "mock")]
pub use sandbox_core::{MockConnector, MockHostKeyProbe, MockSandboxBackend, MockSession, MockSessionSource};

/// Sandboxes as Pods of a Kubernetes cluster, for programs that say more of them than settings
/// can.
#[cfg(feature = "k8s")]
pub mod k8s {
    pub use sandbox_k8s::options::{
        HostAlias, PodOptions, PodSecurityContext, PullPolicy, SecurityContext, SecurityProfile, Toleration,
        VolumeAt, VolumeSource,
    };
    pub use sandbox_k8s::*;
}

/// Sandboxes on this machine: confined process trees, no cluster.
#[cfg(feature = "local")]
pub mod local {
    pub use sandbox_local::*;
}

/// What is measured, by the crate [metrics](https://docs.rs/metrics): how often sandboxes are made,
/// commands run, files moved, connections opened and the API server asked, how that ended and how
/// long it took. A program installs a recorder (such as that of `metrics-exporter-prometheus`) as for
/// any other crate; names, kinds and labels are in [`METRICS`](metrics::METRICS) and stay as they are.
#[cfg(feature = "metrics")]
pub mod metrics {
    pub use sandbox_core::measure::{METRICS, Metric, MetricKind, describe};
}

/// The programs in the guides compile.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/GUIDE.md")]
    struct Guide;
    #[doc = include_str!("../../../docs/FROM-PYTHON.md")]
    struct FromPython;
    #[cfg(feature = "k8s")]
    #[doc = include_str!("../../../docs/KUBERNETES.md")]
    struct Kubernetes;
}
