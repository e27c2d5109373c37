//! Channels for operations of the guest protocol. Only sandbox-sshd has them.

use std::sync::atomic::{AtomicBool, Ordering};

use sandbox_core::protocol::GUEST_SUBSYSTEM;
use sandbox_core::{ConnectionStage, Deadline, Error, GuestChannel, Result};

use crate::channel::{ChannelIo, ChannelPool};
use crate::connection::Opening;
use crate::exec::Timeouts;

/// The most operations on one connection. The window of the guest protocol keeps each from blocking the others.
pub(crate) const OPERATIONS_PER_CONNECTION: usize = 32;
/// The most connections for operations.
pub(crate) const MAX_CONNECTIONS: usize = 64;

/// Opens the channels of operations.
pub(crate) struct GuestChannels {
    channels: ChannelPool,
    timeouts: Timeouts,
    /// The server has refused one.
    is_unsupported: AtomicBool,
}

impl GuestChannels {
    pub(crate) fn new(channels: ChannelPool, timeouts: Timeouts) -> Self {
        Self {
            channels,
            timeouts,
            is_unsupported: AtomicBool::new(false),
        }
    }

    pub(crate) fn pool(&self) -> &ChannelPool {
        &self.channels
    }

    /// Opens a channel. Dropping the future closes it.
    pub(crate) async fn open(&self) -> Result<GuestChannel> {
        if self.is_unsupported.load(Ordering::Relaxed) {
            return Err(unsupported_error("it has no such channel"));
        }
        let timeout = self.timeouts.channel;
        let deadline = Deadline::from_now(self.timeouts.checkout);
        let opening = self.channels.open(&Opening::Session, timeout, deadline);
        let mut channel = opening.await?;
        // Another server could understand the name as something else.
        let is_started = channel.conn().is_sandbox_sshd() && {
            let starting = channel.start_subsystem(GUEST_SUBSYSTEM);
            let started = tokio::time::timeout(timeout, starting).await;
            started.map_err(|_elapsed| no_answer_error())??
        };
        if !is_started {
            self.is_unsupported.store(true, Ordering::Relaxed);
            channel.finish(false).await;
            return Err(unsupported_error("it has no such channel"));
        }
        Ok(GuestChannel::new(ChannelIo::new(channel), timeout))
    }
}

fn no_answer_error() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "the server did not answer the request for a channel of the guest protocol",
        None,
    )
}

pub(crate) fn unsupported_error(why: &str) -> Error {
    Error::unsupported_because(
        "shared processes, watches and pauses",
        "the server",
        why,
        "create the sandbox anew with this version, and with sandbox-sshd as its server",
    )
}
