//! Listening, letting in, and ending.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::keys::ssh_key::public::KeyData;
use russh::keys::{PrivateKey, PublicKey};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::jobs::Jobs;
use crate::lifetime::{End, Lifetime, Use};
use crate::processes::Processes;
use crate::{ServerConfig, ServerError};

/// How long a silent TCP peer is left alone, and then asked three times at this interval.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The SSH server of one sandbox.
///
/// A clone is the same server: the same jobs, limits and processes.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    pub(crate) ssh: Arc<russh::server::Config>,
    pub(crate) lifetime: Arc<Lifetime>,
    pub(crate) processes: Arc<Processes>,
    pub(crate) jobs: Arc<Jobs>,
    keys: Vec<KeyData>,
    pub(crate) stop: CancellationToken,
    /// Connections that have not authenticated, the oldest first.
    pending: Mutex<VecDeque<(u64, CancellationToken)>>,
    logins: AtomicU64,
}

/// What a server is busy with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Connections that have authenticated.
    pub clients: usize,
    /// Channels on which something runs, or may be started.
    pub channels: usize,
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Processes that were started for a channel or as a job and have not ended; not those which
    /// these started.
    pub processes: usize,
}

/// A place on the list of those logging in; given up when dropped.
pub(crate) struct PendingLogin {
    shared: Arc<Shared>,
    id: u64,
}

impl Server {
    /// Checks the configuration and makes the home directory. Lifetimes count from here.
    ///
    /// # Errors
    ///
    /// [`ServerError`] says what cannot be used.
    pub fn new(config: ServerConfig) -> Result<Self, ServerError> {
        let host_key = PrivateKey::from_openssh(config.host_key.expose())
            .map_err(|error| ServerError::HostKey(error.into()))?;
        let keys = authorized_keys(&config.authorized_keys)?;
        std::fs::create_dir_all(&config.home).map_err(|source| ServerError::Home {
            path: config.home.clone(),
            source,
        })?;
        let lifetime = Lifetime::new(&config);
        let processes = Arc::new(Processes::new(config.spawn_setup.clone()));
        let jobs = Jobs::new(
            &config.home,
            config.job_log_cap,
            Arc::clone(&processes),
            Arc::clone(&lifetime),
        );
        let ssh = Arc::new(connection::ssh_config(host_key));
        let (stop, pending, logins) = (
            CancellationToken::new(),
            Mutex::default(),
            AtomicU64::new(0),
        );
        Ok(Self {
            shared: Arc::new(Shared {
                config,
                ssh,
                lifetime,
                processes,
                jobs,
                keys,
                stop,
                pending,
                logins,
            }),
        })
    }

    /// Serves connections of a TCP socket until the sandbox's end or until `shutdown` is
    /// ready, then ends every process of the sandbox: SIGTERM, after the grace SIGKILL. The
    /// server is of no more use afterwards.
    ///
    /// Dropping the future closes all connections, which ends their commands; jobs stay.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> End {
        let accept = || async {
            let (stream, _) = listener.accept().await?;
            tune(&stream);
            Ok(stream)
        };
        self.serve(accept, shutdown).await
    }

    /// As [`serve_tcp`](Self::serve_tcp), on a Unix socket.
    pub async fn serve_unix(
        &self,
        listener: UnixListener,
        shutdown: impl Future<Output = ()>,
    ) -> End {
        self.serve(|| async { Ok(listener.accept().await?.0) }, shutdown)
            .await
    }

    /// Serves one connection until it is over. Its commands end with it; jobs stay, until
    /// [`terminate`](Self::terminate). Limits are kept only by the other methods.
    ///
    /// Dropping the future closes the connection.
    pub async fn serve_stream<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection::serve(Arc::clone(&self.shared), stream).await;
    }

    /// A look at what it is busy with.
    pub fn status(&self) -> ServerStatus {
        let lifetime = &self.shared.lifetime;
        ServerStatus {
            clients: lifetime.count(Use::Client),
            channels: lifetime.count(Use::Channel) + lifetime.count(Use::Ready),
            jobs: lifetime.count(Use::Job),
            processes: self.shared.processes.count(),
        }
    }

    /// Waits until a limit says that the sandbox should end.
    pub async fn ended(&self) -> End {
        self.shared.lifetime.ended().await
    }

    /// Closes all connections and ends every process of the sandbox.
    pub async fn terminate(&self) {
        self.shared.stop.cancel();
        let config = &self.shared.config;
        self.shared
            .processes
            .terminate(config.kill_grace, config.reap_orphans)
            .await;
    }

    async fn serve<S, A>(&self, accept: impl Fn() -> A, shutdown: impl Future<Output = ()>) -> End
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        A: Future<Output = io::Result<S>>,
    {
        let _stop_when_dropped = self.shared.stop.clone().drop_guard();
        let accepting = async {
            loop {
                match accept().await {
                    Ok(stream) => drop(tokio::spawn(connection::serve(
                        Arc::clone(&self.shared),
                        stream,
                    ))),
                    Err(error) => {
                        // Out of descriptors, mostly: it passes when a connection ends.
                        tracing::warn!(%error, "a connection cannot be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        };
        let reaping = async {
            if self.shared.config.reap_orphans
                && let Err(error) = self.shared.processes.reap_orphans().await
            {
                tracing::warn!(%error, "orphans are not collected");
            }
            std::future::pending().await
        };
        let end = tokio::select! {
            end = self.shared.lifetime.ended() => end,
            () = shutdown => End::Terminated,
            () = self.shared.stop.cancelled() => End::Terminated,
            () = accepting => End::Terminated,
            () = reaping => End::Terminated,
        };
        tracing::info!(?end, "the sandbox ends");
        self.terminate().await;
        end
    }
}

impl Shared {
    /// Whether this key opens the door to this user.
    pub(crate) fn admits(&self, user: &str, key: &PublicKey) -> Option<()> {
        let named = self
            .config
            .user
            .as_deref()
            .is_none_or(|accepted| accepted == user);
        (named && self.keys.contains(key.key_data())).then_some(())
    }

    /// Puts a connection on the list of those that have not authenticated. Where there are too
    /// many the oldest is cut off: a newcomer who has the key needs but a moment.
    pub(crate) fn pending_login(self: &Arc<Self>, kill: CancellationToken) -> PendingLogin {
        let mut pending = self.pending();
        let id = self.logins.fetch_add(1, Ordering::Relaxed);
        if pending.len() >= self.config.max_pending_logins
            && let Some((_, oldest)) = pending.pop_front()
        {
            tracing::debug!("too many connections are logging in: the oldest is dropped");
            oldest.cancel();
        }
        pending.push_back((id, kill));
        PendingLogin {
            shared: Arc::clone(self),
            id,
        }
    }

    fn pending(&self) -> MutexGuard<'_, VecDeque<(u64, CancellationToken)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PendingLogin {
    fn drop(&mut self) {
        self.shared.pending().retain(|(id, _)| *id != self.id);
    }
}

fn authorized_keys(lines: &[String]) -> Result<Vec<KeyData>, ServerError> {
    let mut keys = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // Options restrict: a key must not be taken with less than was asked for.
        let key =
            PublicKey::from_openssh(line.trim()).map_err(|error| ServerError::AuthorizedKey {
                number: index + 1,
                source: error.into(),
            })?;
        keys.push(key.key_data().clone());
    }
    if keys.is_empty() {
        Err(ServerError::NoAuthorizedKey)
    } else {
        Ok(keys)
    }
}

/// Small packets go at once, and a peer that vanished is noticed within a minute.
fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(3);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "a socket cannot be tuned");
    }
}
