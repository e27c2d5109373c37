//! Connections to servers inside sandboxes that are idle between two requests.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::SendRequest;
use sandbox::Uid;

/// The sandbox and the port.
pub(super) type Key = (Uid, u16);

/// The greatest number of idle connections for one port: each holds a channel of the sandbox, and a worker of its server.
const MAX_IDLE: usize = 4;
/// The longest time that a connection stays idle.
const MAX_IDLE_TIME: Duration = Duration::from_secs(10);
/// How long a connection may take to become usable again after a response.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// The idle connections to servers inside sandboxes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Upstreams(Arc<Mutex<HashMap<Key, Vec<Idle>>>>);

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

impl Idle {
    fn is_usable(&self) -> bool {
        self.sender.is_ready() && self.since.elapsed() < MAX_IDLE_TIME
    }
}

impl Upstreams {
    /// Takes an idle connection to this port. Its server may close it at any moment.
    pub(super) fn take(&self, key: &Key) -> Option<SendRequest<Body>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.get_mut(key)?;
        idle.retain(Idle::is_usable);
        let taken = idle.pop();
        if idle.is_empty() {
            all.remove(key);
        }
        taken.map(|idle| idle.sender)
    }

    fn put(&self, key: Key, sender: SendRequest<Body>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.entry(key).or_default();
        idle.retain(Idle::is_usable);
        if idle.len() < MAX_IDLE {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
    }

    /// Closes the connections to this port that have been idle for too long.
    fn prune(&self, key: &Key) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(idle) = all.get_mut(key) {
            idle.retain(Idle::is_usable);
            if idle.is_empty() {
                all.remove(key);
            }
        }
    }
}

/// The body of a response, whose connection becomes idle at its end.
pub(super) struct ReturnedAtEnd {
    body: Incoming,
    connection: Option<(SendRequest<Body>, Key, Upstreams)>,
}

impl ReturnedAtEnd {
    pub(super) fn new(
        body: Incoming,
        sender: SendRequest<Body>,
        key: Key,
        upstreams: Upstreams,
    ) -> Self {
        let mut this = Self {
            body,
            connection: Some((sender, key, upstreams)),
        };
        if this.body.is_end_stream() {
            this.return_connection();
        }
        this
    }

    fn return_connection(&mut self) {
        let Some((mut sender, key, upstreams)) = self.connection.take() else {
            return;
        };
        tokio::spawn(async move {
            let settled = tokio::time::timeout(SETTLE_TIME, sender.ready()).await;
            if matches!(settled, Ok(Ok(()))) {
                upstreams.put(key.clone(), sender);
                tokio::time::sleep(MAX_IDLE_TIME).await;
                upstreams.prune(&key);
            }
        });
    }
}

impl HttpBody for ReturnedAtEnd {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let has_ended = match &polled {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if has_ended {
            self.return_connection();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
