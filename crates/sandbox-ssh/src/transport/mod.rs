//! The byte streams under connections.

mod kill_switch;
mod send_room;
mod tcp;

pub(crate) use kill_switch::{KillSwitch, KillableStream};
pub(crate) use send_room::{LONGEST, PollSendRoom};
pub use tcp::TcpConnector;
