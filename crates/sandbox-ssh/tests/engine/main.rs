//! Sessions, connections and transfers under load, faults and cancellation. One program, so that its tests wait beside
//! one another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "helpers of tests may panic as tests do"
)]

mod cancelled;
mod connecting;
mod cut_streams;
mod faults;
mod host_keys;
mod jobs;
mod listening;
mod lost_connections;
mod output_packets;
mod pooling;
mod probing;
mod resuming;
mod round_trips;
mod soak;
mod streams;
mod striping;
#[path = "../support/mod.rs"]
mod support;
mod users;
mod versions;
