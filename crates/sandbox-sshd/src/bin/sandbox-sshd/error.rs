//! The error of this program: a message for users, of one line.

pub(crate) type Error = Box<dyn std::error::Error>;
