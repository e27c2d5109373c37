//! The backend against an API server that loses, delays and refuses requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod assigning;
mod create;
mod deadlines;
mod delete;
mod ends;
mod errors;
mod identity;
mod image_pulls;
mod lease;
mod lifetime;
mod logs;
mod many;
mod metrics;
mod namespaces;
mod network;
mod pages;
mod paused_cpu;
mod preflight;
mod proxies;
mod requests;
mod restart;
mod room;
mod shared_pools;
mod support;
mod sweep;
mod sweep_keys;
mod unreachable;
mod volume_sources;
mod watch;
