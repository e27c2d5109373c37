//! SSH sessions to sandboxes: a pool of shared connections, commands and files.
//!
//! [`SshSessions`] implements [`SessionSource`](sandbox_core::SessionSource) over any byte
//! stream that a [`Connector`](sandbox_core::Connector) opens; [`TcpConnector`] opens TCP
//! connections. For each instance of a sandbox it keeps
//!
//! * a few connections that commands share, several channels on each;
//! * a connection for each stream that is read at the caller's pace, because a slow reader blocks
//!   its whole connection;
//! * one connection for files, so that they delay no command, and up to three more for a large file
//!   where round trips are long;
//! * a connection for each directory tree that is copied as one stream, which only sandbox-sshd has.
//!
//! Servers other than sandbox-sshd work, too, within their abilities:
//!
//! * OpenSSH does not signal the commands of root, and SSH has no response to a signal. There a second
//!   command finds the first one by a variable, `SANDBOX_COMMAND`, and signals it, which needs
//!   `/bin/sh` and `cat` in the image. A time-out whose kill failed reports so.
//! * Variables that a server refuses reach a command over its input. A command in a terminal needs
//!   `stty` for that.

mod channel;
mod claim;
mod connection;
mod exec;
mod files;
mod guest;
mod jobs;
mod listen;
mod options;
mod pool;
mod session;
mod sftp;
mod source;
mod text;
mod transport;
mod trees;

pub use connection::SshHostKeyProbe;
pub use options::SshOptions;
pub use pool::PoolStatus;
pub use source::{InstanceStatus, SshSessions};
pub use transport::TcpConnector;
