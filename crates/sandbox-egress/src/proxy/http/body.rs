//! Bodies that count what passes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::proxy::flow::Flow;

/// The body of a response to the sandbox.
pub(super) type ResponseBody = UnsyncBoxBody<Bytes, hyper::Error>;

/// Returns a body of this text.
pub(super) fn text_body(text: String) -> ResponseBody {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that is passed on. The flow lasts as long as it does.
pub(super) struct CountedBody {
    body: Incoming,
    flow: Option<Arc<Flow>>,
    count: fn(&Flow, usize),
}

impl CountedBody {
    /// A body from the sandbox. It is counted once it is known which flow it belongs to.
    pub(super) fn from_sandbox(body: Incoming) -> Self {
        Self {
            body,
            flow: None,
            count: Flow::add_sent,
        }
    }

    /// A body to the sandbox.
    pub(super) fn to_sandbox(body: Incoming, flow: Arc<Flow>) -> Self {
        Self {
            body,
            flow: Some(flow),
            count: Flow::add_received,
        }
    }

    pub(super) fn set_flow(&mut self, flow: Arc<Flow>) {
        self.flow = Some(flow);
    }
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let (Some(data), Some(flow)) = (frame.data_ref(), &self.flow)
        {
            (self.count)(flow, data.len());
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
