//! The rest of a body that a request was answered without. A client that still sends it would get a reset instead of its
//! answer, so it is read and discarded for a while, as nginx does (`lingering_close`).
//! <https://www.rfc-editor.org/rfc/rfc9112#section-9.6>

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::EXPECT;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::request_timer::Busy;

/// How long the rest of a body is read.
const READ_TIME: Duration = Duration::from_secs(30);
/// How long nothing of it may arrive meanwhile.
const SILENCE: Duration = Duration::from_secs(3);
/// How much of it is read, in bytes.
const READ_SIZE: usize = 64 << 20;

/// The body of a request, whose rest is kept if it is dropped before its end.
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    /// Until the body has ended.
    busy: Option<Busy>,
    /// Whether the client sends nothing before it is asked to.
    waits: bool,
    leftovers: mpsc::UnboundedSender<Leftover>,
}

/// The rest of a body.
pub(super) struct Leftover {
    incoming: Incoming,
    _busy: Option<Busy>,
}

impl RequestBody {
    /// The body of a request with these headers.
    pub(super) fn new(
        incoming: Incoming,
        headers: &HeaderMap,
        busy: Busy,
        leftovers: mpsc::UnboundedSender<Leftover>,
    ) -> Self {
        Self {
            busy: (!incoming.is_end_stream()).then_some(busy),
            incoming: Some(incoming),
            // Only `100-continue` is defined. What is read is what the client is asked for.
            waits: headers.contains_key(EXPECT),
            leftovers,
        }
    }

    fn end(&mut self) {
        self.incoming = None;
        self.busy = None;
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits = false;
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        let is_last = self.is_end_stream() || !matches!(frame, Some(Ok(_)));
        if is_last {
            self.end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let of = |incoming: &Incoming| incoming.size_hint();
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), of)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if self.waits || self.is_end_stream() {
            return;
        }
        if let Some(incoming) = self.incoming.take() {
            let _busy = self.busy.take();
            // Where the connection is gone, there is nothing to read either.
            let _unsent = self.leftovers.send(Leftover { incoming, _busy });
        }
    }
}

impl Leftover {
    /// Reads it to its end or to the limits. Where it did not end, the connection closes after the response.
    pub(super) async fn discard(mut self) {
        let deadline = Instant::now() + READ_TIME;
        let mut room = READ_SIZE;
        loop {
            let until = deadline.min(Instant::now() + SILENCE);
            let frame = tokio::time::timeout_at(until, self.incoming.frame()).await;
            let Ok(Some(Ok(frame))) = frame else {
                return;
            };
            let size = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = room.checked_sub(size) else {
                return;
            };
            room = rest;
        }
    }
}

/// The body of a response, which keeps its request being served until it was sent.
pub(super) struct ResponseBody<B> {
    body: B,
    _busy: Busy,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl<B: HttpBody + Unpin> HttpBody for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
