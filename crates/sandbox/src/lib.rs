//! Run commands in isolated, short-lived environments.
//!
//! A sandbox is a confined process tree on this machine, or a Kubernetes Pod. The API is the same
//! for both: create a sandbox, run commands in it over SSH, transfer files over SFTP, and delete
//! it. A sandbox that is not deleted ends by itself.
//!
//! Local sandboxes share this machine's kernel, so they are for development and for trusted code. For
//! untrusted code, use a cluster with a runtime class such as gVisor or Kata Containers.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use sandbox::prelude::*;
//!
//! fn main() -> Result<()> {
//!     sandbox::local::init(); // first, before any thread: a local sandbox is supervised by this program
//!     run()
//! }
//!
//! #[tokio::main]
//! async fn run() -> Result<()> {
//!     let client = Client::from_env().await?;
//!     let sbx = client.sandbox().label("team", "ml").ttl(Duration::from_secs(1800)).create().await?;
//!
//!     // A program and its arguments. `check` turns a non-zero exit code into an error.
//!     let out = sbx.command("python3").args(["-c", "print(6*7)"]).output().await?.check()?;
//!     print!("{}", out.stdout_lossy());
//!
//!     // Streams the output. Input, signals and terminal resizes work too.
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
//! # Where to find what
//!
//! | task | see |
//! |---|---|
//! | creating and finding sandboxes | [`Client`], [`SandboxBuilder`] |
//! | sandboxes that are ready before they are needed | [`Client::pool`], [`Pool`] |
//! | settings from the environment | [`Client::from_env`], [`Settings`] |
//! | commands | [`Sandbox::command`], [`Sandbox::shell`], [`Process`], [`Output`] |
//! | background jobs | [`Command::spawn_detached`], [`Sandbox::jobs`], [`Job`] |
//! | processes that several clients attach to | [`Sandbox::processes`] |
//! | files | [`Sandbox::files`], [`Sandbox::upload`], [`Sandbox::download_dir`] |
//! | in place writes, attributes, exact events of directories | [`Sandbox::guest_files`] |
//! | ports | [`Sandbox::forward`] |
//! | what a sandbox may reach | [`SandboxBuilder::egress`], [`Egress`] |
//! | credentials that stay outside | [`SandboxBuilder::upstream`], [`NamedUpstream`] |
//! | methods by id, as in the original Python SDK | [`Client::create_sandbox`] and its neighbours |
//! | `ssh` and other SSH clients | [`Client::access`], [`Client::open_ssh_stream`] |
//! | errors | [`Error`] |
//! | another backend, or mocks | [`Client::with_parts`], [`SandboxBackend`], [`SessionSource`] |
//!
//! # Cancellation and clean-up
//!
//! Dropping a future cancels what it was doing: a command is ended, a half-created sandbox is
//! deleted, a half-written file is removed. Dropping a [`Sandbox`] deletes nothing; its
//! documentation says how sandboxes end by themselves.
//!
//! # Features
//!
//! * `local` (default): sandboxes on this machine (Linux).
//! * `k8s`: sandboxes as Pods of a Kubernetes cluster.
//! * `metrics`: counters and histograms for the recorder that the program has installed, through
//!   the crate [metrics](https://docs.rs/metrics).
//! * `mock`: [mockall](https://docs.rs/mockall) mocks of the traits, for the unit tests of
//!   programs that use sandboxes.

// Imports point down: client uses shared_pool, pool, create and backends, shared_pool uses pool, pool uses create, create
// and transfer use handle, and all of them use parts, defaults and diagnosis.
mod backends;
mod client;
mod create;
mod defaults;
mod diagnosis;
mod handle;
mod memory;
mod parts;
mod pool;
pub mod prelude;
mod shared_pool;
mod sync;
mod transfer;

// Creating, finding and describing sandboxes.
pub use client::Client;
pub use create::builder::SandboxBuilder;
pub use defaults::Defaults;
pub use handle::Sandbox;
pub use sandbox_config::Settings;
pub use sandbox_core::guest::{PauseState, StoppedBy};
pub use sandbox_core::{
    AppliedLimit, Assignment, BackendOptions, ByteSize, Capabilities, Check, Cpu, DeleteOptions,
    Diagnosis, EndCause, EventStream, Freshness, Isolation, Lifetime, LimitScope, LimitSupport,
    ListFilter, LogOptions, LogStream, MAX_ANNOTATIONS, OnExpiry, Resources, SandboxEnd,
    SandboxEvent, SandboxEventKind, SandboxId, SandboxInfo, SandboxSpec, SandboxState,
    SweepFailure, SweepOptions, SweepReport, SweptSandbox, Uid, Verdict, rfc3339,
};

// Pools of waiting sandboxes.
pub use pool::Pool;
pub use pool::builder::{OnEmpty, PoolBuilder};
pub use pool::status::{PoolProblem, PoolStatus};
pub use pool::take::Take;
pub use sandbox_core::{
    ClaimRequest, Claimed, PoolClaim, PoolKey, PoolLead, PoolLeader, PoolMember, PoolMemberState,
    PoolName, ResizeOutcome, Resized, SharedPools,
};
pub use shared_pool::SharedPool;
pub use shared_pool::builder::SharedPoolBuilder;
pub use shared_pool::claim::FromPool;
pub use shared_pool::status::{FillerStatus, PoolSummary};

// Commands and jobs.
pub use handle::command::Command;
pub use handle::job::Job;
pub use handle::job_log::JobLog;
pub use sandbox_core::protocol::JobRecord;
pub use sandbox_core::{
    AttachOptions, ControlMessage, Env, ExecEvent, ExecRequest, ExitStatus, JobId, Notice, Output,
    Process, ProcessControl, ProcessDriver, ProcessStdin, Program, Pty, PtySize, Signal,
};

// Shared processes.
pub use handle::process_input::ProcessInput;
pub use handle::processes::{AttachedProcess, ProcessEvent, SharedProcesses};
pub use sandbox_core::guest::{
    InputTarget, ProcessSelector, ProcessSpec, SharedProcess, TerminalSize,
};

// Files.
pub use handle::files::Files;
pub use handle::guest_files::GuestFiles;
pub use handle::guest_files::content::{AttributeChange, GuestReader, GuestWriter};
pub use handle::guest_files::watching::FileEvents;
pub use handle::watch::{Watch, WatchEvent, WatchEventKind};
pub use sandbox_core::guest::{
    EntryKind, FileEntry, FileEvent, FileEventKind, LinkTarget, Usage, WatchOptions, Written,
};
pub use sandbox_core::{
    Direction, DownloadRequest, FileInfo, FileKind, FilePath, ListBudget, Reader, TargetPolicy,
    UploadRequest, Writer, partial_name,
};
pub use transfer::Transfer;
pub use transfer::limits::TreeLimits;
pub use transfer::progress::TransferProgress;
pub use transfer::report::{Discarded, Failed, Skipped, TransferReport, TreeReport};

// What a sandbox may reach.
pub use handle::egress::ServeEgress;
pub use sandbox_egress::{
    Answer as EgressAnswer, Ask as AskEgress, Dial, DirectDialer, Egress, EgressEvent,
    EgressOutcome, HostTransform, NamedUpstream, Resolve, SystemResolver, UPSTREAM_KINDS, Upstream,
    UpstreamKind,
};

// Ports, connections, and the traits behind a client.
pub use handle::forward::Forward;
pub use sandbox_core::{
    Accept, Access, ByteStream, Canary, Connector, Deadline, Endpoint, FileSystem, HostKeyProbe,
    KeyPair, Leftover, Leftovers, NetworkIsolation, PortListener, PortProbe, PrivateKey, PublicKey,
    SandboxBackend, Session, SessionSource, TrackedWork, WorkWaiter,
};

// Errors.
pub use sandbox_core::guest::{Refusal, RefusalCode};
pub use sandbox_core::{
    BoxError, CommandCause, ConnectionError, ConnectionStage, CreationError, CreationReason,
    CreationStage, Error, Escaped, Result, TransferError, TransferReason, UnsupportedError,
    is_misleading,
};

// Mocks of the traits.
#[cfg(feature = "mock")]
pub use sandbox_core::{
    MockConnector, MockHostKeyProbe, MockSandboxBackend, MockSession, MockSessionSource,
};

/// Sandboxes as Pods of a Kubernetes cluster: the backend, and options beyond what settings can
/// express.
#[cfg(feature = "k8s")]
pub mod k8s {
    pub use sandbox_k8s::options::{
        Architecture, AuthorizedKey, HostAlias, ImageServer, InjectVia, Injection,
        KubernetesOptions, PodOptions, PodSecurityContext, PodVolume, PullPolicy, SecurityContext,
        SecurityProfile, ServerPrograms, Toleration, Transport, VolumeSource,
    };
    pub use sandbox_k8s::{
        Cluster, ClusterOptions, KubernetesBackend, PodConnector, connect_cluster, open_cluster,
    };
}

/// Sandboxes as confined process trees on this machine.
#[cfg(feature = "local")]
pub mod local {
    pub use sandbox_local::{IsolationLevel, LocalBackend, LocalOptions, UnixConnector, init};
}

/// The metrics that the SDK reports through the crate [metrics](https://docs.rs/metrics): count,
/// outcome and duration of creations, commands, file transfers, connections and requests to the API
/// server. Install a recorder (such as that of `metrics-exporter-prometheus`) as for any other
/// crate. [`METRICS`](metrics::METRICS) lists the names, kinds and labels, which are stable.
#[cfg(feature = "metrics")]
pub mod metrics {
    pub use sandbox_core::metrics::{METRICS, Metric, MetricKind, describe};
}

/// Compiles the programs in the guides.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/GUIDE.md")]
    struct Guide;
    #[doc = include_str!("../../../docs/EGRESS.md")]
    struct EgressRules;
    #[doc = include_str!("../../../docs/FROM-PYTHON.md")]
    struct FromPython;
    #[cfg(feature = "k8s")]
    #[doc = include_str!("../../../docs/KUBERNETES.md")]
    struct Kubernetes;
}
