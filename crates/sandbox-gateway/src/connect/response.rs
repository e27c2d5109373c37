//! Responses: one message, or a stream of frames that always ends with one that says how it ended.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, Sleep};

use super::error::{Code, ConnectError};
use super::frame::{END_OF_STREAM, encode_json};
use super::request::CallKind;
use super::timeouts::Deadline;

/// Asks proxies not to collect the frames of a stream before they pass them on.
const NO_BUFFERING: (HeaderName, HeaderValue) = (
    HeaderName::from_static("x-accel-buffering"),
    HeaderValue::from_static("no"),
);

/// The response to a unary call that succeeds.
pub(crate) fn message_response(message: &impl Serialize) -> Response {
    match serde_json::to_vec(message) {
        Ok(body) => {
            let json = HeaderValue::from_static(CallKind::Unary.content_type());
            ([(header::CONTENT_TYPE, json)], body).into_response()
        }
        Err(error) => ConnectError::new(Code::Internal, error.to_string()).into_response(),
    }
}

/// Why a stream ends before it is complete.
#[derive(Debug)]
pub(crate) enum Cut {
    /// With an error that the last frame names.
    Error(ConnectError),
    /// With the connection, which is being reset: the client must not mistake it for anything else.
    Reset,
}

impl From<ConnectError> for Cut {
    fn from(error: ConnectError) -> Self {
        Self::Error(error)
    }
}

/// What a stream consists of.
#[derive(Debug)]
pub(crate) struct Streamed<S> {
    /// The frames, encoded.
    pub(crate) frames: S,
    /// When it ends with an error, whatever comes.
    pub(crate) deadline: Option<Deadline>,
    /// How often a silent stream says that it lives.
    pub(crate) keepalive: Duration,
    /// The frame that says so.
    pub(crate) keepalive_frame: Bytes,
}

/// The response to a call whose response is a stream. Frames are taken only as fast as the client receives them. If it
/// goes away, `frames` is dropped.
pub(crate) fn stream_response<S>(streamed: Streamed<S>) -> Response
where
    S: Stream<Item = Result<Bytes, Cut>> + Send + 'static,
{
    let keepalive = Box::pin(tokio::time::sleep(streamed.keepalive));
    let deadline = streamed
        .deadline
        .map(|deadline| (deadline, Box::pin(tokio::time::sleep_until(deadline.at))));
    let body = Body::from_stream(StreamBody {
        frames: Some(Box::pin(streamed.frames)),
        deadline,
        interval: streamed.keepalive,
        keepalive,
        keepalive_frame: streamed.keepalive_frame,
    });
    (stream_headers(), body).into_response()
}

/// The response to a call with streams that fails before it has begun. Its status is 200: clients look for the last frame.
pub(crate) fn stream_error(error: &ConnectError) -> Response {
    (stream_headers(), Body::from(end_frame(Some(error)))).into_response()
}

fn stream_headers() -> [(HeaderName, HeaderValue); 2] {
    let content_type = HeaderValue::from_static(CallKind::Stream.content_type());
    [(header::CONTENT_TYPE, content_type), NO_BUFFERING]
}

/// The last frame of a stream.
fn end_frame(error: Option<&ConnectError>) -> Bytes {
    let end = match error {
        Some(error) => json!({ "error": error.to_json() }),
        None => json!({}),
    };
    // Such a value can always be encoded.
    encode_json(END_OF_STREAM, &end).unwrap_or_default()
}

struct StreamBody<S> {
    /// `None` after the last frame.
    frames: Option<Pin<Box<S>>>,
    deadline: Option<(Deadline, Pin<Box<Sleep>>)>,
    interval: Duration,
    keepalive: Pin<Box<Sleep>>,
    keepalive_frame: Bytes,
}

impl<S: Stream<Item = Result<Bytes, Cut>>> Stream for StreamBody<S> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(frames) = &mut self.frames else {
            return Poll::Ready(None);
        };
        if let Poll::Ready(next) = frames.as_mut().poll_next(cx) {
            let end = match next {
                Some(Ok(frame)) => {
                    let next = Instant::now() + self.interval;
                    self.keepalive.as_mut().reset(next);
                    return Poll::Ready(Some(Ok(frame)));
                }
                None => Ok(end_frame(None)),
                Some(Err(Cut::Error(error))) => Ok(end_frame(Some(&error))),
                Some(Err(Cut::Reset)) => Err(io::ErrorKind::ConnectionReset.into()),
            };
            self.frames = None;
            return Poll::Ready(Some(end));
        }
        if let Some((deadline, elapsed)) = &mut self.deadline
            && elapsed.as_mut().poll(cx).is_ready()
        {
            let end = end_frame(Some(&deadline.exceeded()));
            self.frames = None;
            return Poll::Ready(Some(Ok(end)));
        }
        if self.keepalive.as_mut().poll(cx).is_ready() {
            let next = Instant::now() + self.interval;
            self.keepalive.as_mut().reset(next);
            return Poll::Ready(Some(Ok(self.keepalive_frame.clone())));
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::encode_frame;
    use futures_util::stream;
    use http_body_util::BodyExt;

    fn streamed<S>(frames: S) -> Streamed<S> {
        Streamed {
            frames,
            deadline: None,
            keepalive: Duration::from_secs(50),
            keepalive_frame: Bytes::from_static(b"\0\0\0\0\x10{\"keepalive\":{}}"),
        }
    }

    async fn next(response: &mut Response) -> Option<Result<Bytes, axum::Error>> {
        let frame = response.body_mut().frame().await?;
        Some(frame.map(|frame| frame.into_data().unwrap()))
    }

    #[tokio::test]
    async fn a_stream_ends_with_a_frame_that_says_how() {
        let message = encode_frame(&json!({"a": 1})).unwrap();
        let failed = ConnectError::new(Code::NotFound, "m");
        let cases = [
            (None, &b"\x02\0\0\0\x02{}"[..]),
            (
                Some(failed),
                b"\x02\0\0\0\x2c{\"error\":{\"code\":\"not_found\",\"message\":\"m\"}}",
            ),
        ];
        for (error, expected) in cases {
            let frames = [Ok(message.clone())]
                .into_iter()
                .chain(error.map(|error| Err(Cut::Error(error))));
            let frames: Vec<_> = frames.collect();
            let response = stream_response(streamed(stream::iter(frames)));
            assert_eq!(response.status(), 200);
            assert_eq!(
                response.headers()["content-type"],
                "application/connect+json"
            );
            assert_eq!(response.headers()["x-accel-buffering"], "no");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, [&message[..], expected].concat());
        }
    }

    #[tokio::test]
    async fn an_error_before_the_first_frame_has_the_status_200() {
        let response = stream_error(&ConnectError::invalid("m"));
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body[0], END_OF_STREAM);
    }

    #[tokio::test]
    async fn a_reset_ends_the_body_without_a_last_frame() {
        let frames = stream::iter([Err(Cut::Reset)]);
        let mut response = stream_response(streamed(frames));
        assert!(next(&mut response).await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_and_frames_postpone_that() {
        let started = Instant::now();
        let frames = stream::unfold(0, |count| async move {
            tokio::time::sleep(Duration::from_secs(40)).await;
            (count < 2).then(|| (Ok(Bytes::from_static(b"x")), count + 1))
        });
        let frames = stream::StreamExt::chain(frames, stream::pending());
        let mut response = stream_response(streamed(frames));
        let mut at = Vec::new();
        for _ in 0..3 {
            let frame = next(&mut response).await.unwrap().unwrap();
            at.push((started.elapsed().as_secs(), frame.len()));
        }
        assert_eq!(at, [(40, 1), (80, 1), (130, 21)]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_ends_a_stream() {
        let headers = http::HeaderMap::from_iter([(
            HeaderName::from_static("connect-timeout-ms"),
            HeaderValue::from_static("1500"),
        )]);
        let mut streamed = streamed(stream::pending());
        streamed.deadline = Deadline::parse(&headers).unwrap();
        let mut response = stream_response(streamed);
        let end = next(&mut response).await.unwrap().unwrap();
        assert!(
            String::from_utf8_lossy(&end).contains("deadline_exceeded"),
            "{end:?}"
        );
        assert!(next(&mut response).await.is_none());
    }
}
