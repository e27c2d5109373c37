//! The SSH server of a sandbox: one static binary for any image, and a library.
//!
//! It needs no root, no `passwd` entry, no shell, no name service and no `/dev`. Only the owner of
//! an authorized key can log in. Commands run as the user of the server.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox_core::KeyPair;
//! use sandbox_sshd::{Server, ServerConfig};
//!
//! let (host, user) = (KeyPair::generate()?, KeyPair::generate()?);
//! let config = ServerConfig::new(host.private, vec![user.public.as_str().to_owned()], "/tmp/home");
//! let listener = tokio::net::UnixListener::bind("/tmp/sandbox.sock")?;
//! let reason = Server::new(config)?.serve_unix(listener, std::future::pending()).await;
//! # drop(reason);
//! # Ok(())
//! # }
//! ```
//!
//! | module | purpose |
//! |---|---|
//! | `server` | accepts connections, authenticates clients, dispatches requests |
//! | `channel` | the data of one channel, its flow control, and forwarded streams |
//! | `process` | from a command line to a process: environment, program, spawn, terminal |
//! | `jobs` | commands that outlive their client |
//! | `sftp` | the SFTP subsystem |
//! | `tree` | directory trees as one stream |
//! | `guest` | shared processes, watches, pauses: what SSH has no request for |
//! | `lifetime` | decides when the sandbox ends |
//!
//! `server` uses `jobs`, `sftp`, `tree` and `guest`, these use `process`, and all use `channel`.

mod channel;
mod config;
mod error;
mod guest;
mod jobs;
mod lifetime;
mod lock;
mod process;
mod server;
mod sftp;
mod tree;

pub use config::{FreezerRequest, RESERVED_ENV_PREFIX, ServerConfig};
pub use error::ServerError;
pub use process::home::find_home;
pub use process::memory::hide_memory;
pub use sandbox_core::protocol::EndReason;
pub use server::{Server, ServerStatus};
