//! From a command line to a process: its environment, its program, its start and its end.

pub(crate) mod command;
pub(crate) mod environment;
pub(crate) mod executable;
pub(crate) mod home;
mod listing;
pub(crate) mod memory;
pub(crate) mod pause;
pub(crate) mod program;
pub(crate) mod pty;
pub(crate) mod spawn;
pub(crate) mod started;
pub(crate) mod stop;
pub(crate) mod table;
pub(crate) mod user;
