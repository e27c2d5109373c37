//! SSH connections: set up, watched and ended.

mod config;
mod conn;
mod handshake;
mod incoming;
mod probe;
mod state;

pub(crate) use config::{Purpose, Setup};
pub(crate) use conn::{Connection, OpenError, Opening};
pub(crate) use handshake::connect;
pub(crate) use incoming::IncomingChannel;
pub use probe::SshHostKeyProbe;
