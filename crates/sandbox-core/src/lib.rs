//! Traits, types and errors of the sandbox SDK, without Kubernetes, SSH or sockets.
//!
//! A *sandbox* is an isolated, short-lived environment for commands and files. Four small traits
//! separate the layers. Each can be replaced by a mock (feature `mock`) or by your own
//! implementation:
//!
//! | trait | purpose | implemented by |
//! |---|---|---|
//! | [`SandboxBackend`] | the control plane: creates and deletes sandboxes | `sandbox-local`, `sandbox-k8s` |
//! | [`Connector`] | opens a byte stream to an [`Endpoint`] | the backends |
//! | [`SessionSource`] | hands out sessions | `sandbox-ssh` |
//! | [`Session`] | the data plane: commands, files, streams, jobs | `sandbox-ssh` |
//!
//! Programs use the crate `sandbox`, which combines them.

mod access;
mod backend;
mod backend_options;
pub mod command_line;
mod connect;
mod deadline;
pub mod dialect;
mod error;
mod event;
mod exec;
mod file;
mod id;
mod info;
mod keys;
#[doc(hidden)]
pub mod measure;
mod nearest;
mod output;
mod preflight;
mod process;
mod quantity;
mod session;
mod signal;
mod spec;
mod timestamp;

pub use access::{Access, Endpoint};
pub use backend::{
    DeleteOptions, Freshness, ListFilter, LogOptions, LogStream, SandboxBackend, SweepOptions,
    SweepReport, Swept, Unswept,
};
pub use backend_options::BackendOptions;
pub use connect::{ByteStream, Connector, HostKeyProbe};
pub use deadline::Deadline;
pub use error::{
    BoxError, CommandCause, ConnectionError, ConnectionStage, CreationError, CreationReason,
    CreationStage, Direction, Error, Result, RetryAfter, TransferError, TransferReason,
};
pub use event::{Diagnosis, EventStream, SandboxEvent, SandboxEventKind};
pub use exec::{Env, ExecRequest, Program, Pty, PtySize};
pub use file::{DownloadRequest, FileInfo, FileKind, UploadRequest, partial_name};
pub use id::{JobId, SandboxId, Uid};
pub use info::{
    AppliedLimit, Capabilities, Isolation, LimitScope, LimitSupport, SandboxInfo, SandboxState,
};
pub use keys::{KeyPair, PrivateKey, PublicKey};
pub use nearest::nearest;
pub use output::{ExitStatus, Output, OutputCollector};
pub use preflight::{Check, Verdict};
pub use process::{
    ControlMessage, ExecEvent, Process, ProcessControl, ProcessDriver, ProcessStdin,
};
pub use quantity::{ByteSize, Cpu};
pub use session::{AttachOptions, Reader, Session, SessionSource, Writer};
pub use signal::Signal;
pub use spec::{Lifetime, RESERVED_LABEL_DOMAIN, Resources, SandboxSpec};
pub use timestamp::rfc3339;

#[cfg(feature = "mock")]
pub use {
    backend::MockSandboxBackend,
    connect::{MockConnector, MockHostKeyProbe},
    session::{MockSession, MockSessionSource},
};
