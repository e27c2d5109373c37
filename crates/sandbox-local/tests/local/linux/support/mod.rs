//! Sandboxes for tests, and commands in them.

mod leftovers;
mod pausing;
mod shell;
mod sockets;
mod trial;
mod wait;
mod world;

pub(crate) use leftovers::{check_leftovers, count_processes, find_processes, processes_using};
pub(crate) use pausing::{frozen_group, has_freezer};
pub(crate) use shell::{Shell, read_channel};
pub(crate) use sockets::OutsideSockets;
pub(crate) use trial::{Result, trial, trials};
pub(crate) use wait::{TIMEOUT, wait_until};
pub(crate) use world::{World, assert_applied, detached_spec};
