//! Requests: what their head must say, and the messages in their bodies.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::error::{Code, ConnectError};
use super::frame::FrameParser;

/// The longest message: 4 MiB of JSON. A request to write to a process carries its input as one message.
pub(crate) const MAX_MESSAGE: usize = 4 << 20;

/// How a call exchanges messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallKind {
    /// One message each way, as the bodies.
    Unary,
    /// Frames, at least one way.
    Stream,
}

impl CallKind {
    /// The content type of both bodies.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Unary => "application/json",
            Self::Stream => "application/connect+json",
        }
    }

    /// The header that names the encoding of messages.
    fn encoding(self) -> &'static str {
        match self {
            Self::Unary => "content-encoding",
            Self::Stream => "connect-content-encoding",
        }
    }

    /// The response to a call that fails.
    pub(crate) fn error_response(self, error: ConnectError) -> Response {
        match self {
            Self::Unary => error.into_response(),
            Self::Stream => super::response::stream_error(&error),
        }
    }
}

/// Checks the head of a call.
///
/// # Errors
///
/// The response that says what is wrong with it.
pub(crate) fn check_head(kind: CallKind, head: &Parts) -> Result<(), Box<Response>> {
    if head.method != Method::POST {
        let allow = [(header::ALLOW, HeaderValue::from_static("POST"))];
        let error = ConnectError::new(Code::Unimplemented, "calls are POST requests");
        let refused = (StatusCode::METHOD_NOT_ALLOWED, allow, error).into_response();
        // The status of the error would replace the other one.
        return Err(Box::new(with_status(
            StatusCode::METHOD_NOT_ALLOWED,
            refused,
        )));
    }
    if !has_media_type(&head.headers, kind.content_type()) {
        let message = format!(
            "this call needs the content type {}; other encodings than JSON are not supported",
            kind.content_type()
        );
        let error = ConnectError::new(Code::Unimplemented, message).into_response();
        return Err(Box::new(with_status(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            error,
        )));
    }
    check_headers(kind, &head.headers).map_err(|error| Box::new(kind.error_response(error)))
}

fn check_headers(kind: CallKind, headers: &HeaderMap) -> Result<(), ConnectError> {
    if let Some(encoding) = headers.get(kind.encoding())
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        let message = "compressed messages are not supported; send them as identity";
        return Err(ConnectError::new(Code::Unimplemented, message));
    }
    match headers.get("connect-protocol-version") {
        Some(version) if version != "1" => Err(ConnectError::invalid(
            "the header Connect-Protocol-Version must be 1",
        )),
        Some(_) | None => Ok(()),
    }
}

/// Reads the message of a unary call.
///
/// # Errors
///
/// If it is too long, cut off, or not what the call needs.
pub(crate) async fn read_message<T: DeserializeOwned>(body: Body) -> Result<T, ConnectError> {
    parse_message(&read_all(body, MAX_MESSAGE).await?)
}

/// Reads the one message of a call whose response is a stream.
///
/// # Errors
///
/// As [`read_message`], and if there are none or several.
pub(crate) async fn read_frame<T: DeserializeOwned>(body: Body) -> Result<T, ConnectError> {
    let mut frames = FrameParser::new(MAX_MESSAGE);
    frames.push(&read_all(body, MAX_MESSAGE + 5).await?);
    let message = frames.next_message()?;
    frames.check_end().map_err(|_rest| {
        ConnectError::invalid("this call takes one message, and it must be complete")
    })?;
    let message = message.ok_or_else(|| ConnectError::invalid("this call needs a message"))?;
    parse_message(&message)
}

/// Parses a message. An empty one has no fields.
pub(crate) fn parse_message<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConnectError> {
    let json = if json.is_empty() { b"{}" } else { json };
    // Otherwise serde would take an array for the fields in their order.
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(ConnectError::invalid("the message must be a JSON object"));
    }
    serde_json::from_slice(json)
        .map_err(|error| ConnectError::invalid(format!("the message is not valid: {error}")))
}

async fn read_all(body: Body, limit: usize) -> Result<Bytes, ConnectError> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ConnectError::new(
            Code::ResourceExhausted,
            format!("the request is too long; send at most {limit} bytes"),
        )),
        Err(_cut_off) => Err(ConnectError::invalid("the request was cut off")),
    }
}

/// Whether the content type is this one, whatever its parameters.
fn has_media_type(headers: &HeaderMap, media_type: &str) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
}

fn with_status(status: StatusCode, mut response: Response) -> Response {
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    fn head(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/s/M");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn heads_of_both_sdks_are_accepted() {
        let json = ("content-type", "application/json");
        let stream = ("content-type", "application/connect+json");
        let version = ("connect-protocol-version", "1");
        let cases: &[(CallKind, &[(&str, &str)])] = &[
            (CallKind::Unary, &[json]),
            (
                CallKind::Unary,
                &[json, version, ("content-encoding", "identity")],
            ),
            (
                CallKind::Unary,
                &[("content-type", "application/json; charset=utf-8")],
            ),
            (
                CallKind::Stream,
                &[stream, version, ("connect-content-encoding", "identity")],
            ),
        ];
        for (kind, headers) in cases {
            assert!(
                check_head(*kind, &head("POST", headers)).is_ok(),
                "{headers:?}"
            );
        }
    }

    #[test]
    fn other_heads_are_refused_with_the_status_that_connect_names() {
        let json = ("content-type", "application/json");
        let stream = ("content-type", "application/connect+json");
        type Case<'a> = (CallKind, &'a str, &'a [(&'a str, &'a str)], u16);
        let cases: &[Case<'_>] = &[
            (CallKind::Unary, "GET", &[json], 405),
            (CallKind::Unary, "POST", &[], 415),
            (
                CallKind::Unary,
                "POST",
                &[("content-type", "application/proto")],
                415,
            ),
            (CallKind::Unary, "POST", &[stream], 415),
            (CallKind::Stream, "POST", &[json], 415),
            (
                CallKind::Unary,
                "POST",
                &[json, ("content-encoding", "gzip")],
                501,
            ),
            (
                CallKind::Unary,
                "POST",
                &[json, ("connect-protocol-version", "2")],
                400,
            ),
            // A stream says it in its last frame.
            (
                CallKind::Stream,
                "POST",
                &[stream, ("connect-content-encoding", "gzip")],
                200,
            ),
        ];
        for (kind, method, headers, status) in cases {
            let refused = check_head(*kind, &head(method, headers)).unwrap_err();
            assert_eq!(refused.status().as_u16(), *status, "{method} {headers:?}");
        }
    }

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    struct Message {
        #[serde(default)]
        a: u32,
    }

    #[tokio::test]
    async fn messages_are_bounded_and_complete() {
        assert_eq!(
            read_message::<Message>(Body::from("")).await.unwrap(),
            Message { a: 0 }
        );
        let cases: [(Vec<u8>, Code); 3] = [
            (b"{\"a\":".to_vec(), Code::InvalidArgument),
            (b"[]".to_vec(), Code::InvalidArgument),
            (vec![b' '; MAX_MESSAGE + 1], Code::ResourceExhausted),
        ];
        for (body, code) in cases {
            let error = read_message::<Message>(Body::from(body)).await.unwrap_err();
            assert_eq!(error.code, code);
        }
    }

    #[tokio::test]
    async fn a_stream_from_the_server_has_one_request() {
        let one = b"\0\0\0\0\x07{\"a\":1}";
        let read = read_frame::<Message>(Body::from(&one[..])).await.unwrap();
        assert_eq!(read, Message { a: 1 });
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03{}",
            &[&one[..], one].concat(),
        ] {
            let error = read_frame::<Message>(Body::from(body.to_vec())).await;
            assert_eq!(error.unwrap_err().code, Code::InvalidArgument, "{body:?}");
        }
    }
}
