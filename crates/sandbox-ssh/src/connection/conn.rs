//! One authenticated connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use russh::client::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure, Disconnect};
use sandbox_core::{ConnectionStage, Error, metrics, protocol};
use tokio::sync::mpsc;

use super::incoming::{IncomingChannel, IncomingLimits};
use super::state::{ConnectionState, Handler};
use crate::text::escape;
use crate::transport::KillSwitch;

/// How long a dropped connection may take to disconnect.
const DISCONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// An authenticated connection. Dropping it disconnects.
pub(crate) struct Connection {
    /// `None` only while it is dropped.
    handle: Option<Handle<Handler>>,
    pub(crate) state: Arc<ConnectionState>,
    is_sandbox_sshd: bool,
    user: String,
    /// Silence after which the server is probed, and then the connection given up.
    silence: Duration,
    pub(crate) created: Instant,
    /// Channels that were requested.
    opened: AtomicU64,
    /// The connection takes no more channels.
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
    /// The server refused the channel. The connection is usable.
    Refused(ChannelOpenFailure),
    /// The connection has ended.
    Lost,
}

/// The kind of channel to open.
#[derive(Debug, Clone)]
pub(crate) enum Opening {
    Session,
    /// A TCP connection from inside the sandbox, RFC 4254 §7.2.
    Tcp {
        host: String,
        port: u16,
    },
    /// A connection to a Unix socket inside the sandbox (`direct-streamlocal@openssh.com`).
    Unix {
        path: String,
    },
}

impl Connection {
    pub(super) fn new(
        handle: Handle<Handler>,
        state: Arc<ConnectionState>,
        user: String,
        silence: Duration,
    ) -> Self {
        let is_sandbox_sshd = protocol::server_version(state.server_id()).is_some();
        Self {
            handle: Some(handle),
            state,
            is_sandbox_sshd,
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

    /// Whether the server is sandbox-sshd, and so understands [`protocol`].
    pub(crate) fn is_sandbox_sshd(&self) -> bool {
        self.is_sandbox_sshd
    }

    /// Whether the server ignores signals without an error. OpenSSH does not signal the commands of
    /// root, because no process of it with the rights to do so remains (session.c,
    /// `session_signal_req`), and SSH has no response to a signal.
    pub(crate) fn ignores_signals(&self) -> bool {
        self.state.server_id().starts_with(b"SSH-2.0-OpenSSH") && self.user == "root"
    }

    /// The most channels that are safe to use at once. dropbear (2022.83) sometimes closes a channel
    /// without its exit status if commands of one connection end together.
    pub(crate) fn safe_channels(&self) -> usize {
        if self.state.server_id().starts_with(b"SSH-2.0-dropbear") {
            1
        } else {
            usize::MAX
        }
    }

    /// The server's identification string, for messages.
    pub(crate) fn server(&self) -> String {
        escape(&String::from_utf8_lossy(self.state.server_id()))
    }

    pub(crate) fn kill_switch(&self) -> &KillSwitch {
        &self.state.kill_switch
    }

    /// Ends the connection now, with everything that runs over it.
    pub(crate) fn kill(&self) {
        self.kill_switch().kill();
    }

    /// Whether the connection has ended.
    pub(crate) fn is_dead(&self) -> bool {
        self.kill_switch().is_dead()
    }

    /// Waits until the connection has ended, for whatever reason.
    pub(crate) async fn wait_ended(&self) {
        self.kill_switch().wait_ended().await;
    }

    /// How long a write has been waiting for the peer to take it.
    pub(crate) fn write_stall(&self) -> Duration {
        self.kill_switch().write_stall()
    }

    /// Whether the connection can take one more channel.
    pub(crate) fn is_usable(&self) -> bool {
        !self.is_dead() && !self.retired.load(Ordering::Relaxed)
    }

    /// Makes the connection take no more channels; it ends once its channels are closed.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Counts a slot in use.
    pub(crate) fn begin_use(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end_use(&self) {
        let now = u64::try_from(self.created.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_used.store(now, Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Slots in use.
    pub(crate) fn busy_slots(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// How long the connection has been unused; `None` while it is in use.
    pub(crate) fn idle_time(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last_used.load(Ordering::Relaxed));
        (self.busy_slots() == 0).then(|| self.created.elapsed().saturating_sub(last))
    }

    /// Channels that were ever requested.
    pub(crate) fn opened_channels(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Opens a channel, watching the connection. Must run in a task of its own: if the future were
    /// dropped, the server would still open the channel, and no task would close it.
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
                Opening::Unix { path } => {
                    handle.channel_open_direct_streamlocal(path.as_str()).await
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

    /// Listens on a port inside, once for each connection; 0 lets the server choose. `None` if the server refuses it.
    pub(crate) async fn listen(
        &self,
        port: u16,
        limits: &IncomingLimits,
    ) -> sandbox_core::Result<Option<(u16, mpsc::Receiver<IncomingChannel>)>> {
        let lost = || {
            let reason = self.state.end_reason().unwrap_or("it has ended");
            let message = format!("the connection was lost: {reason}");
            Error::connection(ConnectionStage::Channel, message, None)
        };
        let handle = self.handle.as_ref().ok_or_else(lost)?;
        let Some(incoming) = self.state.incoming.accept(limits) else {
            return Ok(None);
        };
        let asking = handle.tcpip_forward("localhost", u32::from(port));
        match self.wait_watched(asking).await {
            Some(Ok(chosen)) => {
                let listening = if port == 0 { chosen } else { u32::from(port) };
                // A port that is none is the server's mistake.
                Ok(u16::try_from(listening)
                    .ok()
                    .filter(|port| *port != 0)
                    .map(|port| (port, incoming)))
            }
            Some(Err(russh::Error::RequestDenied)) => Ok(None),
            Some(Err(_)) | None => Err(lost()),
        }
    }

    /// Stops to listen on a port inside that another connection of this client is about to listen on. Channels stay open, and the
    /// server may open some more. `false` if it refuses it, or if the connection has ended.
    pub(crate) async fn hand_over(&self, port: u16) -> bool {
        let Some(handle) = &self.handle else {
            return false;
        };
        let asking = handle.cancel_tcpip_forward("localhost", u32::from(port));
        matches!(self.wait_watched(asking).await, Some(Ok(())))
    }

    /// About one round trip, once three sessions were requested, because the server may be slow with
    /// the first.
    pub(crate) fn round_trip(&self) -> Option<Duration> {
        let shortest = self.opening_us.load(Ordering::Relaxed);
        (self.opened_channels() > 2 && shortest < u64::MAX).then(|| Duration::from_micros(shortest))
    }

    /// Whether the server answers in time. Everything that it sent before the answer has arrived
    /// when this returns.
    pub(crate) async fn ping(&self, timeout: Duration) -> bool {
        let Some(handle) = &self.handle else {
            return false;
        };
        tokio::select! {
            biased;
            () = self.wait_ended() => false,
            // The result alone proves nothing: it is also Ok if the connection has ended.
            pong = handle.send_ping() => pong.is_ok() && !self.is_dead(),
            () = tokio::time::sleep(timeout) => false,
        }
    }
}

/// Detection of a connection that delivers nothing while a request waits for an answer.
///
/// A peer that hangs or has silently vanished would otherwise be noticed only by the keepalive. The
/// other channels of the connection are lost with it: they received nothing either.
impl Connection {
    /// Gives the connection up if it delivers nothing at all for a while, although it is probed then.
    /// Returns when the connection ends. Only for the time of a request: a connection that is not read,
    /// because its reader is slow, delivers nothing either.
    pub(crate) async fn watch(&self) {
        let mut before = self.kill_switch().read_count();
        loop {
            tokio::select! {
                biased;
                () = self.wait_ended() => return,
                () = tokio::time::sleep(self.silence) => {}
            }
            if self.kill_switch().read_count() == before {
                // Any received data counts as an answer; that to this probe is part of it.
                self.ping(self.silence).await;
                if self.kill_switch().read_count() == before {
                    self.give_up();
                    return;
                }
            }
            before = self.kill_switch().read_count();
        }
    }

    /// Waits for an answer, watching the connection; `None` if the connection has ended.
    pub(crate) async fn wait_watched<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = self.watch() => None,
        }
    }

    fn give_up(&self) {
        let silence = self.silence * 2;
        tracing::warn!(ssh.server = %self.server(), ?silence, "connection given up: nothing received");
        self.state
            .set_end_reason(format!("the server sent nothing for {silence:?}"));
        self.kill();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("server", &self.server())
            .field("opened", &self.opened_channels())
            .finish_non_exhaustive()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let kill_switch = self.kill_switch().clone();
        match (self.handle.take(), tokio::runtime::Handle::try_current()) {
            (Some(handle), Ok(runtime)) if !kill_switch.is_dead() => {
                runtime.spawn(async move {
                    let disconnecting = async {
                        if handle
                            .disconnect(Disconnect::ByApplication, "", "")
                            .await
                            .is_ok()
                        {
                            kill_switch.wait_ended().await;
                        }
                    };
                    // Whether in time or not, the connection ends here.
                    drop(tokio::time::timeout(DISCONNECT_TIMEOUT, disconnecting).await);
                    kill_switch.kill();
                });
            }
            _ => kill_switch.kill(),
        }
    }
}
