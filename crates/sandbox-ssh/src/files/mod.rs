//! Files, over SFTP.
//!
//! All files of a sandbox go over one channel on a connection of its own, so that they
//! cannot hold up commands; one large file over up to four, where the way is long. Many
//! requests are in flight at once.

mod append;
mod content;
mod download;
mod failure;
mod handle;
mod hash;
#[cfg(test)]
mod hostile;
mod hub;
mod incoming;
mod names;
mod ops;
mod outgoing;
mod requests;
mod sftp;
mod stripes;
mod upload;
mod wire;

pub(crate) use append::append;
pub(crate) use download::download;
pub(crate) use hash::{HASH_OUTPUT, hash_command, read_hash, told_hash};
pub(crate) use hub::{Hub, HubLimits, SESSIONS};
pub(crate) use incoming::Chunks;
pub(crate) use ops::Files;
pub(crate) use sftp::Progress;
pub(crate) use upload::upload;
