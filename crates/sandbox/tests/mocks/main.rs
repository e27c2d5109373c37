//! Tests the whole facade on mocks alone: no backend, no SSH, no socket.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod creating;
mod egress;
mod failed_creations;
mod handles;
mod late_ttl;
mod pausing;
mod pool;
mod shared_pool;
mod shared_processes;
mod support;
mod transforms;
