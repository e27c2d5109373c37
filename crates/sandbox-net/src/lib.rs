//! TCP sockets as the SDK sets them up.
//!
//! | function | used by | purpose |
//! |---|---|---|
//! | [`connect`] | `sandbox-ssh`, `sandbox-k8s` | connects to a sandbox |
//! | [`bind`] | the binary `sandbox-sshd` | listens on IPv4 and IPv6 |
//! | [`tune_accepted`] | `sandbox-sshd` | sets the options of an accepted connection |
//! | [`reset_when_closed`] | `sandbox`, `sandbox-sshd` | ends a forwarded connection that was cut off |
//! | [`descriptor_limit`] | `sandbox-egress`, `sandbox-sshd` | bounds connections that a peer opens |

#[cfg(unix)]
mod accept;
#[cfg(unix)]
mod bind;
mod connect;
mod descriptors;
mod reset;

#[cfg(unix)]
pub use accept::tune_accepted;
#[cfg(unix)]
pub use bind::bind;
pub use connect::connect;
pub use descriptors::descriptor_limit;
pub use reset::reset_when_closed;
