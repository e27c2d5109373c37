//! The data of one channel: input with its backlog, output, and copying between streams.

pub(crate) mod backlog;
pub(crate) mod forward;
pub(crate) mod gate;
mod hosts;
pub(crate) mod input;
pub(crate) mod io;
pub(crate) mod output;
pub(crate) mod pump;
pub(crate) mod signals;
pub(crate) mod write_backlog;
