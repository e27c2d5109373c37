//! The configuration, keys and known hosts with which OpenSSH's tools reach sandboxes as
//! `<id>.sandbox`.

pub(crate) mod block;
mod client;
pub(crate) mod files;
pub(crate) mod include;
mod quoting;
