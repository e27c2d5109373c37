//! The watch that all users of a backend share, and the tasks that wait for its events.

mod follow;
mod lines;
mod list;
mod maintenance;
mod pace;
mod pools;
mod state;
mod stream;
mod watcher;

pub(crate) use follow::Follower;
pub(crate) use lines::Lines;
pub(crate) use watcher::Watch;
