//! Keys, endpoints and the protocol that the SSH client and the SSH server of the SDK share.

mod access;
pub mod command_line;
pub mod environment_file;
pub mod guest;
mod keys;
pub mod protocol;
pub mod tree_stream;

pub use access::{Access, Endpoint};
pub use keys::{KeyPair, PrivateKey, PublicKey};
