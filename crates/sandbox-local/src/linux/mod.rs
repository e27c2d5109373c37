//! The local backend on Linux.
//!
//! `backend` is the client's side: it starts a supervisor for each sandbox and reads the state
//! directory. `supervisor` is the process beside a sandbox, which starts the server process; that one
//! confines itself as `confine` describes. The messages between the three are in `protocol`.

mod backend;
mod cgroup;
mod confine;
mod connector;
mod failure;
mod init;
mod process_identity;
mod protocol;
mod reclaim;
mod record;
mod remove_tree;
mod state;
mod supervisor;
mod sys;

pub use backend::LocalBackend;
pub use connector::UnixConnector;
pub use init::init;
