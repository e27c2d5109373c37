//! One authenticated connection.

mod handler;
mod handshake;
mod probe;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use sandbox_core::{metrics, protocol};

pub(crate) use handler::Facts;
pub(crate) use handshake::{Purpose, Setup, connect};
pub use probe::SshHostKeys;

use crate::text::escaped;
use crate::transport::Life;

/// How long a connection may take to say goodbye.
const FAREWELL: Duration = Duration::from_millis(500);

/// An authenticated connection. Dropping it says goodbye and ends it.
pub(crate) struct Conn {
    /// `None` only while it is dropped.
    handle: Option<Handle<handler::Handler>>,
    pub(crate) facts: Arc<Facts>,
    ours: bool,
    user: String,
    /// Silence after which the server is asked, and again until the connection is given up.
    silence: Duration,
    pub(crate) created: Instant,
    /// Channels that were asked for.
    opened: AtomicU64,
    /// It takes no more channels.
    retired: AtomicBool,
    /// Slots in use.
    busy: AtomicUsize,
    /// The shortest time that the server took to open a session.
    opening_us: AtomicU64,
    /// When the last use ended, in milliseconds after `created`.
    last_used: AtomicU64,
    _measured: metrics::OpenConnection,
}

/// Why a channel was not opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The server does not want one more. The connection is fine.
    Refused(ChannelOpenFailure),
    /// The connection has ended.
    Lost,
}

/// What a channel is for.
#[derive(Debug, Clone)]
pub(crate) enum Opening {
    Session,
    /// A TCP connection from inside the sandbox, RFC 4254 §7.2.
    Tcp {
        host: String,
        port: u16,
    },
}

impl Conn {
    fn new(
        handle: Handle<handler::Handler>,
        facts: Arc<Facts>,
        user: String,
        silence: Duration,
    ) -> Self {
        let ours = protocol::server_version(facts.server_id()).is_some();
        Self {
            handle: Some(handle),
            facts,
            ours,
            user,
            silence,
            created: Instant::now(),
            opened: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            opening_us: AtomicU64::new(u64::MAX),
            last_used: AtomicU64::new(0),
            _measured: metrics::OpenConnection::new(),
        }
    }

    /// Whether the server is ours, and so speaks [`protocol`].
    pub(crate) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Whether signals come to nothing: OpenSSH sends none to the commands of root, for it has no
    /// process beside them that would (session.c, `session_signal_req`), and SSH knows no answer.
    pub(crate) fn ignores_signals(&self) -> bool {
        self.facts.server_id().starts_with(b"SSH-2.0-OpenSSH") && self.user == "root"
    }

    /// The most channels that are safe to use at once. dropbear (2022.83) at times closes a
    /// channel without its exit status when commands of one connection end together.
    pub(crate) fn safe_channels(&self) -> usize {
        if self.facts.server_id().starts_with(b"SSH-2.0-dropbear") {
            1
        } else {
            usize::MAX
        }
    }

    /// The server's identification string, for messages.
    pub(crate) fn server(&self) -> String {
        escaped(&String::from_utf8_lossy(self.facts.server_id()))
    }

    pub(crate) fn life(&self) -> &Life {
        &self.facts.life
    }

    /// Whether it can take one more channel.
    pub(crate) fn is_usable(&self) -> bool {
        !self.life().is_dead() && !self.retired.load(Ordering::Relaxed)
    }

    /// Takes no more channels; it ends when those it has are closed.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    pub(crate) fn begin_use(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_use(&self) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used.store(now, Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Slots in use.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// For how long it was not used; `None` while it is.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        (self.busy() == 0).then(|| self.created.elapsed().saturating_sub(last))
    }

    /// Channels that were ever asked for.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Opens a channel, or finds that the server answers nothing any more. To be run in a task of its own: when the future is dropped, the
    /// server still opens the channel, and nobody would close it.
    pub(crate) async fn open(&self, opening: &Opening) -> Result<Channel<Msg>, OpenError> {
        let handle = self.handle.as_ref().ok_or(OpenError::Lost)?;
        self.opened.fetch_add(1, Ordering::Relaxed);
        let open = async {
            match opening {
                Opening::Session => handle.channel_open_session().await,
                Opening::Tcp { host, port } => {
                    handle
                        .channel_open_direct_tcpip(host, u32::from(*port), "127.0.0.1", 0)
                        .await
                }
            }
        };
        let begun = Instant::now();
        let opened = tokio::select! {
            biased;
            opened = open => opened.map_err(|error| match error {
                russh::Error::ChannelOpenFailure(reason) => OpenError::Refused(reason),
                _ => OpenError::Lost,
            }),
            () = self.watch() => Err(OpenError::Lost),
        };
        if let (Ok(_), Opening::Session) = (&opened, opening) {
            let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.opening_us.fetch_min(took, Ordering::Relaxed);
        }
        opened
    }

    /// About one round trip, once three sessions were asked for: the server may be slow with the first.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let shortest = self.opening_us.load(Ordering::Relaxed);
        (self.opened() > 2 && shortest < u64::MAX).then(|| Duration::from_micros(shortest))
    }

    /// Whether the server answers in time. Everything it sent before the answer has arrived
    /// when this returns.
    pub(crate) async fn ping(&self, patience: Duration) -> bool {
        let Some(handle) = &self.handle else {
            return false;
        };
        tokio::select! {
            biased;
            () = self.life().ended() => false,
            // The result says nothing: it is Ok also when the connection has ended.
            pong = handle.send_ping() => pong.is_ok() && !self.life().is_dead(),
            () = tokio::time::sleep(patience) => false,
        }
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conn")
            .field("server", &self.server())
            .field("opened", &self.opened())
            .finish_non_exhaustive()
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        let life = self.life().clone();
        match (self.handle.take(), tokio::runtime::Handle::try_current()) {
            (Some(handle), Ok(runtime)) if !life.is_dead() => {
                runtime.spawn(async move {
                    let farewell = async {
                        if handle
                            .disconnect(Disconnect::ByApplication, "", "")
                            .await
                            .is_ok()
                        {
                            life.ended().await;
                        }
                    };
                    // Late or not, it ends here.
                    drop(tokio::time::timeout(FAREWELL, farewell).await);
                    life.kill();
                });
            }
            _ => life.kill(),
        }
    }
}
