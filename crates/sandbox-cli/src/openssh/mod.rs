//! The files that OpenSSH's tools read, for the standard tools by the name `<id>.sandbox`.

pub(crate) mod block;
mod client;
pub(crate) mod files;
pub(crate) mod include;
mod quoting;
