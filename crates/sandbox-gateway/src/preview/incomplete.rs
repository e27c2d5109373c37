//! Responses that are cut off, to clients that could take them for complete ones.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::connection::ConnectionHandle;

/// Lets a client notice that a body is cut off. Since HTTP/1.1 the end of a body is part of the message, and hyper leaves
/// it out after an error. In HTTP/1.0 the end of the connection is that of the body (RFC 9112, section 6.3), so the
/// connection is reset.
pub(super) fn mark_cut_off(
    body: Body,
    version: Version,
    connection: Option<ConnectionHandle>,
) -> Body {
    match connection {
        Some(connection) if version < Version::HTTP_11 => {
            Body::new(ResettingBody { body, connection })
        }
        Some(_) | None => body,
    }
}

/// A body that resets its connection if it fails.
struct ResettingBody {
    body: Body,
    connection: ConnectionHandle,
}

impl HttpBody for ResettingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_cut_off))) = &polled {
            self.connection.reset();
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
