//! What the user sees: messages, tables, progress, and the terminal.

pub(crate) mod cells;
pub(crate) mod creation_progress;
pub(crate) mod docker_hints;
pub(crate) mod json;
pub(crate) mod messages;
pub(crate) mod printable;
pub(crate) mod questions;
pub(crate) mod stdio;
pub(crate) mod streams;
pub(crate) mod table;
pub(crate) mod tail;
pub(crate) mod terminal;
pub(crate) mod transfer_progress;
