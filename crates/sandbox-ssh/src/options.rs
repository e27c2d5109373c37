//! The options of connections.

use std::time::Duration;

/// How sessions connect and how much they keep open. The defaults suit a sandbox in the same
/// cluster or on the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SshOptions {
    /// The most channels in use at once on one connection. If a server refuses one of them, the
    /// limit becomes the number that it allowed. The default is half of OpenSSH's MaxSessions of 10,
    /// because OpenSSH refuses at times above that: it still counts a channel that was just closed.
    pub channels_per_connection: usize,
    /// The shortest round trip at which channels are prewarmed; `None`: never. A command takes one
    /// round trip instead of two if a channel is open for it already, so one is opened for the next
    /// command while a command runs. At most two are prewarmed, only while fewer than half of all
    /// channels are in use, and each is closed after 15 seconds.
    pub prewarm_latency: Option<Duration>,
    /// Connections for commands that are opened before any caller has to wait.
    pub connections: usize,
    /// The most connections for commands. Those above [`connections`](Self::connections) are
    /// opened only when a caller has waited a while because every channel is busy.
    pub max_connections: usize,
    /// The most connections for streams that are read at the caller's own pace. Each stream has
    /// its own connection, so that a slow reader blocks nothing else. A stream to a port above that is
    /// refused at once; a command waits for a free one.
    pub max_streams: usize,
    /// How long one attempt to dial, agree on keys and authenticate may take, if the caller sets no
    /// deadline.
    pub connect_timeout: Duration,
    /// How long a caller waits for a free channel when every one is busy.
    pub checkout_timeout: Duration,
    /// How long a server that sends other data meanwhile may take to open a channel or to answer a
    /// request on it. Then the request fails, and the connection takes no more channels.
    pub channel_timeout: Duration,
    /// How long a connection may deliver nothing while a request waits for an answer. Then it is
    /// probed, and given up if it delivers nothing for as long again. So a peer that hangs or has
    /// vanished is noticed after twice this time. Waiting requests are then sent on another
    /// connection; commands that run on this one end with
    /// [`CommandCause::Lost`](sandbox_core::CommandCause::Lost).
    pub silence_timeout: Duration,
    /// How long one request for files may take.
    pub file_timeout: Duration,
    /// Interval of keepalive requests on an idle connection.
    pub keepalive_interval: Duration,
    /// Unanswered keepalive requests before a connection is given up. A vanished peer is noticed
    /// after `keepalive_interval * (keepalive_max + 1)`, a minute, even if no request waits and
    /// commands only run. Over TCP on Linux it is noticed after 45 seconds at most, because sent
    /// data, such as a keepalive request, must be acknowledged within 30 seconds (TCP_USER_TIMEOUT,
    /// see [`TcpConnector`](crate::TcpConnector)). A peer that is there but has accepted no data for
    /// two minutes is given up within ten seconds.
    pub keepalive_max: usize,
    /// A connection that is unused for this long is closed.
    pub idle_timeout: Duration,
    /// A connection older than this takes no more channels, and is closed once unused.
    pub max_lifetime: Duration,
    /// A connection that has had this many channels takes no more, because russh keeps a little
    /// memory for some channels until their connection ends.
    pub max_channels: u64,
}

impl Default for SshOptions {
    fn default() -> Self {
        Self {
            channels_per_connection: 5,
            prewarm_latency: Some(Duration::from_millis(10)),
            connections: 4,
            max_connections: 32,
            max_streams: 1024,
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
