//! Whether a port can be reached from inside a sandbox.

/// What became of a connection from inside a sandbox to a TCP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortProbe {
    /// It was accepted.
    Open,
    /// It was refused, or there is no route.
    Refused,
    /// There was no answer in time, although the sandbox's server is alive.
    Silent,
}
