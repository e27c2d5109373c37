//! The port inside the sandbox whose connections the client serves (`tcpip-forward`, RFC 4254 §7.1): the way out of a
//! sandbox that has no network.
//!
//! There is one for the whole sandbox, on its loopback interface, and at most one client serves it. Once bound, the port
//! stays bound: while no client serves it, connections are reset. So no program inside can take the port, and the
//! sandbox is offline, never open, when its client is gone.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use russh::ChannelId;
use russh::server::Handle;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use crate::channel::forward;
use crate::channel::input::{InputReader, InputWriter};
use crate::channel::io::{ChannelIo, Control};
use crate::channel::output::Output;
use crate::lifetime::{Activity, Lifetime};
use crate::lock::lock;

/// Connections that one client serves at once. More wait in the backlog of the kernel.
const MAX_CONNECTIONS: usize = 256;
/// The backlog of connections that wait.
const BACKLOG: u32 = 1024;
/// How long the client may take to accept a connection.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(15);
/// Delay after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The port of a sandbox, and who serves it.
#[derive(Default)]
pub(crate) struct ReversePort(Mutex<State>);

#[derive(Default)]
struct State {
    bound: Option<Bound>,
    holder: Option<Arc<Holder>>,
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
    room: Arc<Semaphore>,
    /// Cancelled when the client stops serving the port.
    released: CancellationToken,
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
        let mut state = lock(&self.0);
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
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            released: CancellationToken::new(),
        });
        state.holder = Some(Arc::clone(&holder));
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

    fn holder(&self) -> Option<Arc<Holder>> {
        lock(&self.0).holder.clone()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.holder.released.cancel();
        let mut state = lock(&self.port.0);
        if let Some(current) = &state.holder
            && Arc::ptr_eq(current, &self.holder)
        {
            state.holder = None;
        }
    }
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
        let holder = port.upgrade().and_then(|port| port.holder());
        let Some(holder) = holder else {
            sandbox_net::reset_when_closed(&stream);
            continue;
        };
        let room = Arc::clone(&holder.room);
        let permit = tokio::select! {
            permit = room.acquire_owned() => permit,
            () = holder.released.cancelled() => {
                sandbox_net::reset_when_closed(&stream);
                continue;
            }
        };
        tokio::spawn(async move {
            let _permit = permit;
            carry(stream, peer, number, &holder).await;
        });
    }
}

/// Opens a channel for a connection, and copies between the two.
async fn carry(stream: TcpStream, peer: SocketAddr, port: u16, holder: &Holder) {
    let _activity = holder.lifetime.begin(Activity::Channel);
    let opening = holder.handle.channel_open_forwarded_tcpip(
        holder.address.as_str(),
        port.into(),
        peer.ip().to_string(),
        peer.port().into(),
    );
    let opened = tokio::select! {
        opened = tokio::time::timeout(ACCEPT_TIMEOUT, opening) => opened,
        () = holder.released.cancelled() => return sandbox_net::reset_when_closed(&stream),
    };
    let Ok(Ok(channel)) = opened else {
        tracing::debug!("the client did not accept a connection to the way out");
        return sandbox_net::reset_when_closed(&stream);
    };
    let id = channel.id();
    // The reading half is dropped: its bounded queue would block the whole connection.
    let (_, writer) = channel.split();
    let input = holder.channels.take_reader(id);
    let output = Output::new(writer, holder.handle.clone(), false);
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

/// Both ends of the input of a channel that this side has opened.
///
/// The connection learns of the channel when the client confirms it, and so does the task that has opened it, in either order.
/// Whoever is first creates the input.
pub(crate) struct ForwardedChannels {
    create: Box<dyn Fn() -> NewChannel + Send + Sync>,
    waiting: Mutex<HashMap<ChannelId, Waiting>>,
}

/// The input and the control requests of a new channel.
pub(crate) struct NewChannel {
    pub(crate) writer: (InputWriter, mpsc::Sender<Control>),
    pub(crate) reader: (InputReader, mpsc::Receiver<Control>),
}

/// What the other side has not taken yet.
enum Waiting {
    Writer((InputWriter, mpsc::Sender<Control>)),
    Reader((InputReader, mpsc::Receiver<Control>)),
}

impl ForwardedChannels {
    pub(crate) fn new(create: impl Fn() -> NewChannel + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            create: Box::new(create),
            waiting: Mutex::default(),
        })
    }

    /// Takes the side of the connection; `None` if it was taken.
    pub(crate) fn take_writer(
        &self,
        id: ChannelId,
    ) -> Option<(InputWriter, mpsc::Sender<Control>)> {
        let mut waiting = lock(&self.waiting);
        match waiting.remove(&id) {
            Some(Waiting::Writer(writer)) => Some(writer),
            Some(Waiting::Reader(_)) => None,
            None => {
                let NewChannel { writer, reader } = (self.create)();
                waiting.insert(id, Waiting::Reader(reader));
                Some(writer)
            }
        }
    }

    /// Takes the side of the task; `None` if it was taken.
    pub(crate) fn take_reader(
        &self,
        id: ChannelId,
    ) -> Option<(InputReader, mpsc::Receiver<Control>)> {
        let mut waiting = lock(&self.waiting);
        match waiting.remove(&id) {
            Some(Waiting::Reader(reader)) => Some(reader),
            Some(Waiting::Writer(_)) => None,
            None => {
                let NewChannel { writer, reader } = (self.create)();
                waiting.insert(id, Waiting::Writer(writer));
                Some(reader)
            }
        }
    }
}
