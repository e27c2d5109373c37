//! The byte streams under connections.

mod kill_switch;
mod tcp;

pub(crate) use kill_switch::{KillSwitch, KillableStream};
pub use tcp::TcpConnector;
