//! How long a connection of HTTP/1.1 waits for requests: long for the next one, and briefly for the rest of a head.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::io::AsyncRead;
use tokio::time::{Instant, Sleep};
use tokio_util::io::InspectReader;

/// Times one connection. hyper has one timeout for the wait for a request and for its head, which would cut off clients that
/// keep a connection for later.
pub(super) struct RequestTimer {
    shared: Arc<Shared>,
    header_timeout: Duration,
    idle_timeout: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

/// What a connection has waited for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The rest of a head, or the first head.
    Head,
    /// The next request.
    Request,
}

/// Keeps the time of a connection standing still while a request is served.
#[derive(Clone)]
pub(super) struct Busy {
    _guard: Arc<BusyGuard>,
}

struct BusyGuard(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Wakes what waits for the end of the time when a request has ended.
    waker: AtomicWaker,
}

struct State {
    /// The number of requests that are being served: the next head may be read before the last part of a body is taken.
    served: usize,
    /// Whether a part of the next head may have arrived.
    has_begun: bool,
    since: Instant,
}

impl RequestTimer {
    /// Starts with the wait for the first head, which a client that connects has to send at once.
    pub(super) fn new(header_timeout: Duration, idle_timeout: Duration) -> Self {
        let state = State {
            served: 0,
            has_begun: true,
            since: Instant::now(),
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                waker: AtomicWaker::new(),
            }),
            header_timeout,
            idle_timeout,
            sleep: None,
        }
    }

    /// Notes when the first byte of a head arrives on the stream of the connection.
    pub(super) fn watch<S: AsyncRead>(
        &self,
        stream: S,
    ) -> InspectReader<S, impl FnMut(&[u8]) + Send + use<S>> {
        let shared = Arc::clone(&self.shared);
        InspectReader::new(stream, move |read: &[u8]| {
            if !read.is_empty() {
                shared.note_arrival();
            }
        })
    }

    /// A function that notes the beginning of a request, after its head. It ends with the last clone of the result.
    pub(super) fn begin_requests(&self) -> impl Fn() -> Busy + Send + use<> {
        let shared = Arc::clone(&self.shared);
        move || {
            shared.state().served += 1;
            Busy {
                _guard: Arc::new(BusyGuard(Arc::clone(&shared))),
            }
        }
    }

    /// Lets a connection that closes take as long as what it still sends.
    pub(super) fn expect_no_request(&mut self) {
        self.idle_timeout = Duration::MAX;
    }

    /// Waits until the connection has waited for too long. To be polled whenever the connection was polled.
    pub(super) async fn wait(&mut self) -> Overdue {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Overdue> {
        self.shared.waker.register(cx.waker());
        let (end, overdue) = {
            let state = self.shared.state();
            let (timeout, overdue) = match (state.served, state.has_begun) {
                (0, true) => (self.header_timeout, Overdue::Head),
                (0, false) => (self.idle_timeout, Overdue::Request),
                _ => return Poll::Pending,
            };
            // A time that cannot be represented means no end.
            let Some(end) = state.since.checked_add(timeout) else {
                return Poll::Pending;
            };
            (end, overdue)
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        if sleep.deadline() != end {
            sleep.as_mut().reset(end);
        }
        ready!(sleep.as_mut().poll(cx));
        Poll::Ready(overdue)
    }
}

impl Shared {
    fn note_arrival(&self) {
        let mut state = self.state();
        if state.served == 0 && !state.has_begun {
            state.has_begun = true;
            state.since = Instant::now();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BusyGuard {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.served -= 1;
        state.has_begun = false;
        state.since = Instant::now();
        drop(state);
        self.0.waker.wake();
    }
}
