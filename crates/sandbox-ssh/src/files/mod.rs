//! Files, over SFTP.
//!
//! All files of a sandbox go over one channel on a connection of its own, so that they
//! cannot hold up commands. Many requests are in flight at once.

mod download;
mod failure;
mod handle;
#[cfg(test)]
mod hostile;
mod hub;
mod names;
mod ops;
mod outgoing;
mod sftp;
mod stripes;
mod upload;

pub(crate) use download::download;
pub(crate) use hub::{Hub, HubLimits, SESSIONS};
pub(crate) use ops::Files;
pub(crate) use sftp::Progress;
pub(crate) use upload::upload;
