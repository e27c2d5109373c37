//! Commands that outlive the client that started them.

mod attach;
mod job;
mod layout;
mod log;
mod registry;

pub(crate) use attach::{AttachOptions, attach, send_list};
pub(crate) use registry::Jobs;
