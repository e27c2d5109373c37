//! Channels for operations of the guest protocol. Only sandbox-sshd has them.

use sandbox_core::protocol::GUEST_SUBSYSTEM;
use sandbox_core::{Error, GuestChannel, Result};

use crate::channel::{ChannelPool, Subsystem, SubsystemChannels};
use crate::exec::Timeouts;

/// The most operations on one connection. The window of the guest protocol keeps each from blocking the others.
pub(crate) const OPERATIONS_PER_CONNECTION: usize = 32;
/// The most connections for operations.
pub(crate) const MAX_CONNECTIONS: usize = 64;

static SUBSYSTEM: Subsystem = Subsystem {
    name: GUEST_SUBSYSTEM,
    purpose: "a channel of the guest protocol",
    unsupported: unsupported_error,
};

/// Opens the channels of operations.
pub(crate) struct GuestChannels(SubsystemChannels);

impl GuestChannels {
    pub(crate) fn new(channels: ChannelPool, timeouts: Timeouts) -> Self {
        let (checkout, reply) = (timeouts.checkout, timeouts.channel);
        Self(SubsystemChannels::new(
            channels, &SUBSYSTEM, checkout, reply,
        ))
    }

    pub(crate) fn pool(&self) -> &ChannelPool {
        self.0.pool()
    }

    /// Opens a channel. Dropping the future closes it. A server of another version may refuse the operation later, with
    /// the same error.
    pub(crate) async fn open(&self) -> Result<GuestChannel> {
        let stream = self.0.open().await?;
        Ok(GuestChannel::from_parts(stream, self.0.reply_timeout()))
    }
}

pub(crate) fn unsupported_error(why: &str) -> Error {
    Error::unsupported_because(
        "shared processes, watches and pauses",
        "the server",
        why,
        "create the sandbox anew with this version, and with sandbox-sshd as its server",
    )
}
