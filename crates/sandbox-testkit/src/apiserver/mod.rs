//! A fake Kubernetes API server in memory, whose requests and responses can be made to fail.
//!
//! It stores the Pods, Secrets, Leases, Events and network policies of one namespace. It supports what a client relies
//! on: lists and watches by resourceVersion and label, bookmarks, preconditions, dry runs, owner
//! references with garbage collection, a clock, a kubelet that a test controls, and programs that are
//! run in containers. It is a [`tower::Service`] from which a client is created directly. Under
//! tokio's paused clock, minutes pass at once.
//!
//! ```
//! use sandbox_testkit::apiserver::{ApiServer, Fault};
//!
//! let server = ApiServer::new("boxes");
//! // The next create of a Pod is executed, and its response is lost.
//! server.inject("create pods", Fault::CutAfter);
//! assert_eq!(server.count_requests("create pods"), 0);
//! ```

mod clock;
mod cluster;
mod exec;
mod fault;
mod garbage_collector;
mod json_patch;
mod kubelet;
mod merge_patch;
mod operations;
mod request;
mod resize;
mod response;
mod selector;
mod server;
mod service;
mod store;
mod watch;

pub use exec::Exec;
pub use fault::{Fault, Refusal};
pub use request::RecordedRequest;
pub use resize::PodResize;
pub use response::{Body, ConnectionCut};
pub use server::{ApiServer, ImageVolumes};

#[cfg(test)]
mod tests;
