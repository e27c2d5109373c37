//! The [Connect protocol](https://connectrpc.com/docs/protocol) with JSON: frames, errors, conversions.
//!
//! Only what E2B's SDKs use: unary calls, streams from the server and streams from the client, all with
//! [JSON](https://protobuf.dev/programming-guides/json/) and without compression.

mod error;
mod frame;
pub(crate) mod json;
mod request;
mod response;
mod timeouts;

pub(crate) use error::{Code, ConnectError};
pub(crate) use frame::{FrameParser, encode_frame, encode_frame_with};
pub(crate) use request::{
    CallKind, MAX_MESSAGE, check_head, parse_message, read_frame, read_message,
};
pub(crate) use response::{Cut, Streamed, message_response, stream_response};
pub(crate) use timeouts::{Deadline, keepalive_interval};
