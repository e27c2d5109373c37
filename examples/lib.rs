//! Runnable examples, one for each task: `cargo run --example quickstart`.
