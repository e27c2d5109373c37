//! The proxy against hostile sandboxes, names and servers. All peers are on loopback; names are in a resolver of the tests.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod asking;
mod fronting;
mod http;
mod intercepted;
mod limits;
mod log;
mod names;
mod placeholders;
mod socks;
mod support;
mod transform_rules;
mod transforms;
mod updates;
mod upstream_secrets;
mod upstreams;
