//! Transfers and file operations, over SFTP.
//!
//! All files of a sandbox share one channel on a connection of its own, so that they do not delay
//! commands. A large file uses up to four connections where round trips are long. Many requests are
//! in flight at once.

mod append;
mod download;
mod file_names;
mod hash;
#[cfg(test)]
mod hostile_listing_tests;
#[cfg(test)]
mod hostile_server_tests;
mod ops;
mod special;
mod stripes;
mod target;
mod temporary;
mod upload;

pub(crate) use append::append;
pub(crate) use download::download;
pub(crate) use hash::{HASH_OUTPUT_CAP, hash_command, parse_hash, request_hash};
pub(crate) use ops::FileOps;
pub(crate) use special::{SPECIAL_OUTPUT_CAP, check_special_written, special_command};
pub(crate) use upload::{Uploaded, upload};
