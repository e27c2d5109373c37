//! Traits, types and errors of the sandbox SDK, without Kubernetes and without network I/O.
//!
//! A *sandbox* is an isolated, short-lived environment for commands and files. A few small traits
//! separate the layers. Each can be replaced by a mock (feature `mock`) or by your own
//! implementation:
//!
//! | trait | purpose | implemented by |
//! |---|---|---|
//! | [`SandboxBackend`] | the control plane: creates and deletes sandboxes | `sandbox-local`, `sandbox-k8s` |
//! | [`SharedPools`] | waiting sandboxes that several processes share | `sandbox-k8s` |
//! | [`Connector`] | opens a byte stream to an [`Endpoint`] | the backends |
//! | [`SessionSource`] | hands out sessions | `sandbox-ssh` |
//! | [`Session`], with [`FileSystem`] | the data plane: commands, files, streams, jobs | `sandbox-ssh` |
//!
//! Programs use the crate `sandbox`, which combines them.

mod backend;
mod connect;
mod deadline;
mod error;
mod escaped;
mod file_path;
mod id;
mod leftovers;
mod message_filter;
#[doc(hidden)]
pub mod metrics;
mod nearest;
mod quantity;
mod session;
mod ssh;
mod timestamp;

pub use backend::{
    AppliedLimit, Assignment, BackendOptions, Canary, Capabilities, Check, Claimed, DeleteOptions,
    Diagnosis, EndCause, EventStream, Freshness, Isolation, Lifetime, LimitScope, LimitSupport,
    ListFilter, LogOptions, LogStream, MAX_ANNOTATIONS, NetworkIsolation, PoolClaim, PoolKey,
    PoolLead, PoolLeader, PoolMember, PoolMemberState, RESERVED_LABEL_DOMAIN, ResizeOutcome,
    Resized, Resources, SandboxBackend, SandboxEnd, SandboxEvent, SandboxEventKind, SandboxInfo,
    SandboxSpec, SandboxState, SharedPools, SweepFailure, SweepOptions, SweepReport, SweptSandbox,
    Verdict, check_annotations,
};
pub use connect::{ByteStream, Connector, HostKeyProbe, PartStream};
pub use deadline::Deadline;
pub use error::{
    BoxError, CommandCause, ConnectionError, ConnectionStage, CreationError, CreationReason,
    CreationStage, Direction, Error, Result, RetryAfter, TransferError, TransferReason,
    UnsupportedError,
};
pub use escaped::{Escaped, is_misleading};
pub use file_path::FilePath;
pub use id::{JobId, PoolName, SandboxId, Uid};
pub use leftovers::{Leftover, Leftovers, TrackedWork, WorkWaiter};
pub use message_filter::MessageFilter;
pub use nearest::nearest;
pub use quantity::{ByteSize, Cpu};
pub use session::{
    Accept, AttachOptions, ClaimRequest, ControlMessage, DownloadRequest, Env, ExecEvent,
    ExecRequest, ExitStatus, FileInfo, FileKind, FileSystem, GuestChannel, GuestFrame, ListBudget,
    Notice, Output, OutputCollector, PortListener, PortProbe, Process, ProcessControl,
    ProcessDriver, ProcessStdin, Program, Pty, PtySize, Reader, Session, SessionSource, Signal,
    TargetPolicy, TreeChannel, UploadRequest, Writer, partial_name, temporary_name,
};
pub use ssh::{
    Access, Endpoint, KeyPair, PrivateKey, PublicKey, command_line, environment_file, guest,
    guest::OnExpiry, protocol, tree_stream,
};
pub use timestamp::rfc3339;

#[cfg(feature = "mock")]
pub use {
    backend::{MockPoolLead, MockSandboxBackend, MockSharedPools},
    connect::{MockConnector, MockHostKeyProbe},
    session::{MockSession, MockSessionSource},
};
