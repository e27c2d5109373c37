//! What can be set about connections.

use std::time::Duration;

/// How sessions connect and how much they keep open. The defaults suit a sandbox in the same
/// cluster or on the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshOptions {
    /// Channels used at once on one connection, until a server refuses one of them; then as
    /// many as it allowed. Half of OpenSSH's default MaxSessions of 10: above that it refuses
    /// at times, for a channel that was just closed still counts.
    pub channels_per_connection: usize,
    /// A command takes one round trip instead of two where a channel is open for it already. One is
    /// opened for the next while a command runs, if opening one takes at least this long; `None`:
    /// never. At most two are kept, as long as fewer than half of all channels are in use, and for
    /// 15 seconds.
    pub open_ahead_from: Option<Duration>,
    /// Connections for commands that are opened without hesitation.
    pub connections: usize,
    /// Connections for commands at most. Those above [`connections`](Self::connections) are
    /// opened only when a caller has waited a while because every channel is busy.
    pub max_connections: usize,
    /// Connections at most for streams that are read at the caller's own pace. Each has one
    /// to itself, so that a slow reader holds back nothing else.
    pub max_streams: usize,
    /// How long one connection may take to be dialled, agree on keys and authenticate, where
    /// no deadline was given.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free channel when every one is busy.
    pub checkout_timeout: Duration,
    /// How long a server that says other things meanwhile may take to open a channel or to
    /// answer a request on it. Then the request fails, and the connection takes no more channels.
    pub channel_timeout: Duration,
    /// A connection that brings nothing at all for this long while an answer to a request is
    /// waited for is asked, and given up when for as long again nothing comes: a peer that hangs
    /// or has vanished is noticed after twice this time. Requests that wait are then made on
    /// another connection; commands that run on this one end with
    /// [`CommandCause::Lost`](sandbox_core::CommandCause::Lost).
    pub silence_timeout: Duration,
    /// How long one request to the file server may take.
    pub file_timeout: Duration,
    /// A connection that is quiet for this long is asked whether it still lives.
    pub keepalive_interval: Duration,
    /// Unanswered questions before a connection is given up. A vanished peer is noticed after
    /// `keepalive_interval * (keepalive_max + 1)`, a minute, also when nothing is asked of it and
    /// commands only run. Over TCP on Linux it is sooner: what was sent, such a question, must be
    /// acknowledged within 30 seconds (TCP_USER_TIMEOUT, see
    /// [`TcpConnector`](crate::TcpConnector)), so after 45 at most. A peer that is there but has
    /// taken nothing of what is sent for two minutes is given up within ten seconds.
    pub keepalive_max: usize,
    /// A connection that was not used for this long is closed.
    pub idle_timeout: Duration,
    /// A connection older than this takes no more channels, and is closed once unused.
    pub max_lifetime: Duration,
    /// A connection that has had this many channels takes no more; russh keeps a little
    /// memory for some channels until their connection ends.
    pub max_channels: u64,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            channels_per_connection: 5,
            open_ahead_from: Some(Duration::from_millis(10)),
            connections: 4,
            max_connections: 32,
            max_streams: 64,
            connect_timeout: Duration::from_secs(15),
            checkout_timeout: Duration::from_secs(60),
            channel_timeout: Duration::from_secs(15),
            silence_timeout: Duration::from_secs(5),
            file_timeout: Duration::from_secs(60),
            keepalive_interval: Duration::from_secs(15),
            keepalive_max: 3,
            idle_timeout: Duration::from_secs(60),
            max_lifetime: Duration::from_secs(3600),
            max_channels: 10_000,
        }
    }
}
