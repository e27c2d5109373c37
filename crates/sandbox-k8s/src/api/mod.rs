//! Requests to the API server: selecting the cluster, sending and retrying, and interpreting responses.

pub(crate) mod classify;
pub(crate) mod client;
mod clock;
pub(crate) mod cluster;
pub(crate) mod failure;
pub(crate) mod json_patch;
pub(crate) mod lost;
mod network;
pub(crate) mod objects;
pub(crate) mod pages;
pub(crate) mod pool_lease;
pub(crate) mod request_kind;
mod resize;
mod response;
pub(crate) mod retry;
pub(crate) mod watch_error;
pub(crate) mod watch_requests;
