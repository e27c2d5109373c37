//! Traits, types and errors of the sandbox SDK: no Kubernetes, no SSH, no sockets.

pub mod command_line;
pub mod dialect;
