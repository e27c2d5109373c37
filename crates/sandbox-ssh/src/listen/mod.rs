//! Ports inside a sandbox whose connections are served here.
//!
//! They have an SSH connection of their own, because one that is not read blocks the others of its SSH connection for a
//! while: those of commands must not be among them.
//!
//! russh keeps some kilobytes for each channel that its side closed first, as long as the SSH connection lasts. So after some
//! thousand channels, another SSH connection takes its place. sandbox-sshd lets connections from inside wait meanwhile.

mod stream;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{Accept, ByteStream, ConnectionStage, Deadline, Error, PortListener, Result};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::connection::{Connection, IncomingChannel, IncomingLimits};
use crate::pool::Dialer;
use stream::IncomingStream;

/// Channels of one SSH connection before another takes its place.
const RENEW_AFTER: usize = 2000;
/// SSH connections of one listener. When there are more, the oldest is ended: what is still open on it has seen the beginning
/// of so many others.
const MAX_CONNECTIONS: usize = 16;
/// How long an SSH connection in whose place is another one stays open for channels that the server was about to open. Those
/// that are open keep it longer.
const LINGER: Duration = Duration::from_secs(5);
/// How long another SSH connection may take.
const RENEW_TIMEOUT: Duration = Duration::from_secs(30);

/// The SSH connections of one listener, to end them.
#[derive(Default)]
pub(crate) struct Listening(Mutex<Vec<Weak<Connection>>>);

impl Listening {
    /// Ends the listener and all that it has accepted.
    pub(crate) fn end(&self) {
        for connection in self.connections().drain(..) {
            if let Some(connection) = connection.upgrade() {
                connection.kill();
            }
        }
    }

    fn add(&self, connection: &Arc<Connection>) {
        let mut connections = self.connections();
        connections.retain(|connection| connection.strong_count() > 0);
        connections.push(Arc::downgrade(connection));
        if connections.len() > MAX_CONNECTIONS
            && let Some(oldest) = connections.remove(0).upgrade()
        {
            tracing::debug!(
                "the oldest connections from inside are reset: there are too many new ones"
            );
            oldest.kill();
        }
    }

    fn connections(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens on a port inside; 0 lets the server choose one.
///
/// # Errors
///
/// [`Connection`](Error::Connection) if the server refuses it.
pub(crate) async fn listen(
    dialer: &Dialer,
    port: u16,
    deadline: Deadline,
) -> Result<(PortListener, Arc<Listening>)> {
    let connection = Arc::new(dialer.dial(deadline, 3).await?);
    let limits = IncomingLimits::default();
    let listening = connection.listen(port, &limits);
    let Some((port, incoming)) = deadline
        .bound("listening inside the sandbox", listening)
        .await?
    else {
        let message = format!(
            "the server refuses to listen on port {port} inside it for this client: another client may do so already, or \
             a program has taken the port (AllowTcpForwarding, in other servers than sandbox-sshd)"
        );
        return Err(Error::connection(ConnectionStage::Channel, message, None));
    };
    let listening = Arc::new(Listening::default());
    listening.add(&connection);
    let listener = Listener {
        dialer: dialer.clone(),
        port,
        limits,
        current: Served {
            connection,
            incoming,
        },
        accepted: 0,
        former: VecDeque::new(),
        renewing: None,
        listening: Arc::clone(&listening),
    };
    Ok((PortListener::new(port, listener), listening))
}

/// An SSH connection that serves the port.
struct Served {
    connection: Arc<Connection>,
    incoming: mpsc::Receiver<IncomingChannel>,
}

/// How the attempt ended to serve the port with another SSH connection.
enum Renewed {
    Done(Served),
    /// The port is served as before.
    NotBegun,
    /// Nobody serves the port.
    Lost,
}

struct Listener {
    dialer: Dialer,
    port: u16,
    limits: IncomingLimits,
    current: Served,
    /// Channels of the current SSH connection.
    accepted: usize,
    /// Those before, each until its time.
    former: VecDeque<(Served, Instant)>,
    renewing: Option<Pin<Box<dyn Future<Output = Renewed> + Send>>>,
    listening: Arc<Listening>,
}

#[async_trait]
impl Accept for Listener {
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        loop {
            self.renew_if_due();
            tokio::select! {
                biased;
                renewed = finish(&mut self.renewing) => {
                    self.renewing = None;
                    self.accepted = 0;
                    match renewed {
                        Renewed::Done(served) => self.replace(served),
                        Renewed::NotBegun => {}
                        Renewed::Lost => return Ok(None),
                    }
                }
                stream = receive_former(&mut self.former) => return Ok(Some(Box::new(stream))),
                incoming = self.current.receive() => {
                    self.accepted += 1;
                    return Ok(incoming.map(|stream| Box::new(stream) as Box<dyn ByteStream>));
                }
            }
        }
    }
}

impl Listener {
    fn renew_if_due(&mut self) {
        let connection = &self.current.connection;
        // Other servers would refuse connections meanwhile.
        if self.accepted >= RENEW_AFTER && self.renewing.is_none() && connection.is_sandbox_sshd() {
            let (dialer, limits) = (self.dialer.clone(), self.limits.clone());
            let renewing = renew(dialer, Arc::clone(connection), self.port, limits);
            self.renewing = Some(Box::pin(renewing));
        }
    }

    fn replace(&mut self, served: Served) {
        self.listening.add(&served.connection);
        let former = std::mem::replace(&mut self.current, served);
        self.former.push_back((former, Instant::now() + LINGER));
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Nothing that was accepted outlives the listener, and the port is free for the next client.
        self.listening.end();
    }
}

impl Served {
    /// Takes the next connection from inside; `None` once the SSH connection has ended.
    async fn receive(&mut self) -> Option<IncomingStream> {
        let Self {
            connection,
            incoming,
        } = self;
        tokio::select! {
            biased;
            () = connection.wait_ended() => None,
            incoming = incoming.recv() => {
                incoming.map(|incoming| IncomingStream::new(incoming, Arc::clone(connection)))
            }
        }
    }

    /// As [`receive`](Self::receive), where the end of the SSH connection does not matter.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<IncomingStream>> {
        let incoming = self.incoming.poll_recv(cx);
        incoming.map(|incoming| {
            incoming.map(|incoming| IncomingStream::new(incoming, Arc::clone(&self.connection)))
        })
    }
}

/// Serves the port with another SSH connection.
async fn renew(
    dialer: Dialer,
    former: Arc<Connection>,
    port: u16,
    limits: IncomingLimits,
) -> Renewed {
    let deadline = Deadline::from_now(RENEW_TIMEOUT);
    let connection = match dialer.dial(deadline, 1).await {
        Ok(connection) => Arc::new(connection),
        Err(error) => {
            tracing::debug!(%error, port, "port inside is served by the same connection as before");
            return Renewed::NotBegun;
        }
    };
    if !former.hand_over(port).await {
        return Renewed::NotBegun;
    }
    let listening = connection.listen(port, &limits);
    let listening = deadline.bound("listening inside the sandbox", listening);
    match listening.await {
        Ok(Some((_, incoming))) => Renewed::Done(Served {
            connection,
            incoming,
        }),
        Ok(None) | Err(_) => {
            tracing::debug!(port, "port inside is not served any more");
            Renewed::Lost
        }
    }
}

async fn finish(renewing: &mut Option<Pin<Box<dyn Future<Output = Renewed> + Send>>>) -> Renewed {
    match renewing {
        Some(renewing) => renewing.await,
        None => std::future::pending().await,
    }
}

/// Takes a connection from inside of a former SSH connection, and gives each of those up when its time has come.
async fn receive_former(former: &mut VecDeque<(Served, Instant)>) -> IncomingStream {
    loop {
        let Some(until) = former.front().map(|(_, until)| *until) else {
            return std::future::pending().await;
        };
        let receiving = std::future::poll_fn(|cx| {
            for (served, _) in former.iter_mut() {
                if let Poll::Ready(Some(stream)) = served.poll_receive(cx) {
                    return Poll::Ready(stream);
                }
            }
            Poll::Pending
        });
        tokio::select! {
            stream = receiving => return stream,
            () = tokio::time::sleep_until(until) => {}
        }
        former.pop_front();
    }
}
