//! SSH connections: set up, watched and ended.

mod config;
mod conn;
mod handshake;
mod probe;
mod state;

pub(crate) use config::{Purpose, Setup};
pub(crate) use conn::{Connection, OpenError, Opening};
pub(crate) use handshake::connect;
pub use probe::SshHostKeyProbe;
