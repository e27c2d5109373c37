//! The one watch that all share, and who waits for its news.

mod follow;
mod lines;
mod maintenance;
mod state;
mod stream;
mod watcher;

pub(crate) use follow::Follower;
pub(crate) use lines::Lines;
pub(crate) use watcher::Watch;
