//! TCP sockets as the SDK sets them up.
//!
//! | function | used by | purpose |
//! |---|---|---|
//! | [`connect`] | `sandbox-ssh`, `sandbox-k8s` | connects to a sandbox |
//! | [`bind`] | the binary `sandbox-sshd` | listens on IPv4 and IPv6 |
//! | [`tune_accepted`] | `sandbox-sshd` | sets the options of an accepted connection |

#[cfg(unix)]
mod accept;
#[cfg(unix)]
mod bind;
mod connect;

#[cfg(unix)]
pub use accept::tune_accepted;
#[cfg(unix)]
pub use bind::bind;
pub use connect::connect;
