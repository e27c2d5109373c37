//! SSH sessions to sandboxes: a pool of shared connections, commands and files.
//!
//! [`SshSessions`] implements [`SessionSource`](sandbox_core::SessionSource) over any byte
//! stream that a [`Connector`](sandbox_core::Connector) opens; [`TcpConnector`] opens TCP
//! connections. For each instance of a sandbox it keeps
//!
//! * a few connections that commands share, several channels on each;
//! * connections of their own for streams that are read at the caller's pace: a slow reader
//!   holds back its whole connection;
//! * one connection for files, so that they hold up no command, and up to three more for a
//!   large file where the way is long.
//!
//! A server that is not ours (`sandbox-sshd`) works too, within what it can do. OpenSSH does
//! not deliver signals to root's commands, and SSH has no answer that would tell: there a second
//! command finds the first one by a variable that it carries, `SANDBOX_COMMAND`, and signals it,
//! which needs `/bin/sh` and `cat` in the image; a time-out whose kill failed says so. Variables that
//! a server does not take reach a command over its input; for one in a terminal that needs `stty`.

mod channel;
mod connection;
mod exec;
mod files;
mod jobs;
mod options;
mod pool;
mod session;
mod sftp;
mod source;
mod text;
mod transport;

pub use connection::SshHostKeyProbe;
pub use options::SshOptions;
pub use pool::PoolStatus;
pub use source::{InstanceStatus, SshSessions};
pub use transport::TcpConnector;
