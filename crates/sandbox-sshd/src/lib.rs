//! The SSH server of a sandbox: one static binary for any image, and a library.
//!
//! It needs no root, no `passwd` entry, no shell, no name service and no `/dev`. Only the
//! owner of an authorized key gets in; commands run as whoever the server runs as.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use sandbox_core::KeyPair;
//! use sandbox_sshd::{Server, ServerConfig};
//!
//! let (host, user) = (KeyPair::generate()?, KeyPair::generate()?);
//! let config = ServerConfig::new(host.private, vec![user.public.as_str().to_owned()], "/tmp/home");
//! let listener = tokio::net::UnixListener::bind("/tmp/sandbox.sock")?;
//! let end = Server::new(config)?.serve_unix(listener, std::future::pending()).await;
//! # drop(end);
//! # Ok(())
//! # }
//! ```
//!
//! | file | is about |
//! |---|---|
//! | `server`, `connection`, `lifetime` | listening, letting in, ending |
//! | `transport`, `inbox`, `backlog`, `output`, `pump` | bytes, and what happens when nobody takes them |
//! | `handler`, `start` | requests, and what each starts |
//! | `launch`, `spawn`, `command`, `pty`, `processes`, `proc_table` | commands |
//! | `jobs` | commands that outlive their client |
//! | `sftp`, `forward`, `names` | files, and streams to ports |
//! | `home`, `secrets` | where commands start, and how keys are kept from them |

mod backlog;
mod command;
mod config;
mod connection;
mod environment;
mod error;
mod forward;
mod handler;
mod home;
mod inbox;
mod jobs;
mod launch;
mod lifetime;
mod names;
mod output;
mod proc_table;
mod processes;
mod pty;
mod pump;
mod secrets;
mod server;
mod sftp;
mod spawn;
mod spawner;
mod start;
mod transport;

pub use config::ServerConfig;
pub use error::ServerError;
pub use home::find_home;
pub use lifetime::End;
pub use secrets::hide_memory;
pub use server::{Server, ServerStatus};

/// How the names of this program's own variables begin. Commands never get them, neither from
/// the environment of the server nor from a client.
pub const OWN_VARIABLES: &str = "SANDBOX_SSHD_";
