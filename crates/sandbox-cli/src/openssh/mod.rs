//! The configuration, keys and known hosts with which OpenSSH's tools reach sandboxes as
//! `<id>.sandbox`.

mod block;
mod client;
mod directory;
pub(crate) mod files;
pub(crate) mod include;
pub(crate) mod names;
mod private_files;
mod quoting;
