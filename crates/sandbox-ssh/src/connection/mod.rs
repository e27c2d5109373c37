//! SSH connections: set up, watched and ended.

mod config;
mod conn;
mod handshake;
mod incoming;
mod incoming_queue;
mod probe;
mod state;

pub(crate) use config::{Purpose, Setup};
pub(crate) use conn::{Connection, OpenError, Opening};
pub(crate) use handshake::connect;
pub(crate) use incoming::{IncomingChannel, IncomingLimits};
pub(crate) use incoming_queue::{QueueReader, Received};
pub use probe::SshHostKeyProbe;
