//! The SSH server of a sandbox: one static binary for any image, and a library.
