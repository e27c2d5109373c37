//! The server and russh's client in one process, connected by a pipe in memory.

mod claims;
mod commands;
mod environment;
mod flow_control;
mod forwarding;
mod lifecycle;
mod output;
mod programs;

/// Capacity of the pipe. It is small, so that the server has to buffer the rest.
const PIPE: usize = 64 << 10;
