//! The port inside the sandbox whose connections the client serves (`tcpip-forward`, RFC 4254 §7.1): the way out of a
//! sandbox that has no network.
//!
//! There is one for the whole sandbox, on its loopback interface, and at most one client serves it. Once bound, the port
//! stays bound: while no client serves it, connections are reset. So no program inside can take the port, and the
//! sandbox is offline, never open, when its client is gone. A client that hands the port over to another SSH connection of its
//! own (`cancel-tcpip-forward`) is not gone: connections wait for that one.
//!
//! Programs inside may open as many connections as they like. So many are carried; the others wait, first in the backlog of
//! the kernel, where they cost this process nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use russh::server::{Handle, Msg};
use russh::{Channel, ChannelOpenFailure};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::forwarded_channels::ForwardedChannels;
use crate::channel::forward;
use crate::channel::io::ChannelIo;
use crate::channel::output::Output;
use crate::lifetime::{Activity, Lifetime};
use crate::lock::lock;

/// Connections that one client serves at once, if there are descriptors for them. More wait in the backlog of the kernel.
const MAX_CONNECTIONS: usize = 1000;
/// One in so many descriptors of this process is for these connections. The others are for commands and files.
const DESCRIPTOR_SHARE: usize = 2;
/// The backlog of connections that wait. The kernel may have a lower limit (`net.core.somaxconn`). Beyond it, a connection is
/// neither made nor refused: the kernel of the program tries again.
const BACKLOG: u32 = 4096;
/// How long the client may take to accept a connection, also while it has no room for another one.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before a client that had no room is asked again.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(20);
/// How long connections wait for the SSH connection that a client hands the port over to.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(5);
/// Delay after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The port of a sandbox, and who serves it.
pub(crate) struct ReversePort {
    state: Mutex<State>,
    /// Also of connections that a former holder still carries.
    room: Arc<Semaphore>,
    /// Notified when there is a holder.
    held: Notify,
}

#[derive(Default)]
struct State {
    bound: Option<Bound>,
    holder: Option<Arc<Holder>>,
    /// Until when another SSH connection of the last holder is expected.
    handed_over: Option<Instant>,
}

/// The bound port. Dropping it releases the port.
struct Bound {
    port: u16,
    accepting: AbortHandle,
}

/// The client that serves the port.
struct Holder {
    handle: Handle,
    /// The address as the client has written it: it expects to see it again.
    address: String,
    channels: Arc<ForwardedChannels>,
    lifetime: Arc<Lifetime>,
    /// Held by the one connection that asks a client again that had no room.
    asking_again: tokio::sync::Mutex<()>,
    /// Cancelled when the client serves the port no more.
    released: CancellationToken,
    /// Cancelled when that was not announced: connections that it has not accepted are lost.
    gone: CancellationToken,
}

/// That a client serves the port. Dropping it stops that.
pub(crate) struct Grant {
    port: Arc<ReversePort>,
    holder: Arc<Holder>,
}

/// Why the port is not granted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PortError {
    #[error("only ports on the loopback interface are forwarded, not on {0:?}")]
    NotLoopback(String),
    #[error("a port ends at 65535")]
    NoPort,
    #[error("another connection serves the port already")]
    Held,
    #[error("the sandbox has one such port, which is {0}")]
    OtherPort(u16),
    #[error("it cannot be bound: {0}")]
    NotBound(#[from] std::io::Error),
}

impl Default for ReversePort {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            room: Arc::new(Semaphore::new(max_connections())),
            held: Notify::new(),
        }
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ReversePort {
    /// Lets the client behind `handle` serve the port, and returns which one it is. With port 0 it is the one that is bound
    /// already, or a free one.
    ///
    /// # Errors
    ///
    /// Why it is not granted. Nothing has changed then.
    pub(crate) fn grant(
        self: &Arc<Self>,
        address: &str,
        port: u32,
        handle: Handle,
        channels: Arc<ForwardedChannels>,
        lifetime: Arc<Lifetime>,
    ) -> Result<(u16, Grant), PortError> {
        if !["localhost", "127.0.0.1"].contains(&address) {
            return Err(PortError::NotLoopback(address.to_owned()));
        }
        let asked = u16::try_from(port).map_err(|_| PortError::NoPort)?;
        let mut state = lock(&self.state);
        if state.holder.is_some() {
            return Err(PortError::Held);
        }
        let port = match &state.bound {
            Some(bound) if asked == 0 || asked == bound.port => bound.port,
            Some(bound) => return Err(PortError::OtherPort(bound.port)),
            None => {
                let bound = self.bind(asked)?;
                let port = bound.port;
                state.bound = Some(bound);
                port
            }
        };
        let holder = Arc::new(Holder {
            handle,
            address: address.to_owned(),
            channels,
            lifetime,
            asking_again: tokio::sync::Mutex::default(),
            released: CancellationToken::new(),
            gone: CancellationToken::new(),
        });
        state.holder = Some(Arc::clone(&holder));
        state.handed_over = None;
        drop(state);
        self.held.notify_waiters();
        let grant = Grant {
            port: Arc::clone(self),
            holder,
        };
        Ok((port, grant))
    }

    fn bind(self: &Arc<Self>, port: u16) -> std::io::Result<Bound> {
        let socket = TcpSocket::new_v4()?;
        // Without SO_REUSEADDR, which would let a port be taken that was just in use by a program inside.
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
        let listener = socket.listen(BACKLOG)?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(accept(Arc::downgrade(self), listener, port));
        Ok(Bound {
            port,
            accepting: accepting.abort_handle(),
        })
    }

    /// Returns who serves the port; `None` if there is nobody, and nobody is expected.
    async fn wait_for_holder(&self) -> Option<Arc<Holder>> {
        loop {
            let mut held = std::pin::pin!(self.held.notified());
            // Whoever comes from here on is noticed.
            held.as_mut().enable();
            let expected = {
                let state = lock(&self.state);
                if let Some(holder) = &state.holder {
                    return Some(Arc::clone(holder));
                }
                state.handed_over?
            };
            tokio::time::timeout_at(expected, held).await.ok()?;
        }
    }
}

impl Grant {
    /// Lets connections wait for another SSH connection of the same client.
    pub(crate) fn hand_over(self) {
        lock(&self.port.state).handed_over = Some(Instant::now() + HAND_OVER_TIMEOUT);
        self.holder.released.cancel();
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        // It was handed over otherwise.
        if !self.holder.released.is_cancelled() {
            self.holder.gone.cancel();
            self.holder.released.cancel();
        }
        let mut state = lock(&self.port.state);
        if let Some(current) = &state.holder
            && Arc::ptr_eq(current, &self.holder)
        {
            state.holder = None;
        }
    }
}

/// How many connections are carried at once. A flood from inside must leave descriptors for commands.
fn max_connections() -> usize {
    sandbox_net::descriptor_limit().map_or(MAX_CONNECTIONS, |limit| {
        (limit / DESCRIPTOR_SHARE).clamp(1, MAX_CONNECTIONS)
    })
}

/// Accepts connections as long as the server lives, and passes them to whoever serves the port.
async fn accept(port: Weak<ReversePort>, listener: TcpListener, number: u16) {
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "connection to the way out not accepted");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let Some((holder, permit)) = wait_for_room(&port).await else {
            sandbox_net::reset_when_closed(&stream);
            continue;
        };
        tokio::spawn(async move {
            let _permit = permit;
            carry(stream, peer, number, &holder).await;
        });
    }
}

/// Waits until whoever serves the port has room for a connection; `None` if there is nobody.
async fn wait_for_room(port: &Weak<ReversePort>) -> Option<(Arc<Holder>, OwnedSemaphorePermit)> {
    loop {
        let port = port.upgrade()?;
        let holder = port.wait_for_holder().await?;
        let room = Arc::clone(&port.room);
        tokio::select! {
            permit = room.acquire_owned() => return Some((holder, permit.ok()?)),
            () = holder.released.cancelled() => {}
        }
    }
}

/// Opens a channel for a connection, and copies between the two.
async fn carry(stream: TcpStream, peer: SocketAddr, port: u16, holder: &Holder) {
    let _activity = holder.lifetime.begin(Activity::Channel);
    let opening = open_channel(peer, port, holder);
    let opened = tokio::select! {
        opened = tokio::time::timeout(ACCEPT_TIMEOUT, opening) => opened,
        () = holder.gone.cancelled() => return sandbox_net::reset_when_closed(&stream),
    };
    let Ok(Ok(channel)) = opened else {
        tracing::debug!("the client did not accept a connection to the way out");
        return sandbox_net::reset_when_closed(&stream);
    };
    let id = channel.id();
    // The reading half is dropped: its bounded queue would block the whole connection.
    let (_, writer) = channel.split();
    let input = holder.channels.take_reader(id);
    let output = Output::new(writer, holder.handle.clone(), false)
        .with_backlog(holder.channels.write_backlog());
    let Some((input, control)) = input else {
        return sandbox_net::reset_when_closed(&stream);
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "socket options not set");
    }
    let channel = ChannelIo {
        input,
        output,
        control,
    };
    if forward::copy(stream, channel).await.is_err() {
        tracing::debug!("connection to the way out ended by the client");
    }
}

/// Opens a channel. While the client has no room for it, it is asked again: for one connection at a time, in the order in
/// which they were refused.
async fn open_channel(
    peer: SocketAddr,
    port: u16,
    holder: &Holder,
) -> Result<Channel<Msg>, russh::Error> {
    let open = || {
        holder.handle.channel_open_forwarded_tcpip(
            holder.address.as_str(),
            port.into(),
            peer.ip().to_string(),
            peer.port().into(),
        )
    };
    let opened = open().await;
    if !is_without_room(&opened) {
        return opened;
    }
    let _asking = holder.asking_again.lock().await;
    loop {
        let opened = open().await;
        if !is_without_room(&opened) {
            return opened;
        }
        tokio::time::sleep(NO_ROOM_PAUSE).await;
    }
}

fn is_without_room(opened: &Result<Channel<Msg>, russh::Error>) -> bool {
    matches!(
        opened,
        Err(russh::Error::ChannelOpenFailure(
            ChannelOpenFailure::ResourceShortage
        ))
    )
}
