//! An SSH server for one sandbox.
fn main() {}
