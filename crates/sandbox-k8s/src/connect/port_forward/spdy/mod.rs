//! A port-forward over SPDY/3.1, as kubectl opens it: one stream carries the bytes, another one an error.
//!
//! Next to a WebSocket this saves the node most of its work: the frames of a WebSocket's client are masked, and
//! containerd removes the mask byte by byte. Kubernetes' servers ignore the flow control of SPDY, and so does this:
//! each connection carries one stream of data, so TCP's is enough.
//!
//! <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/> describes the frames. What the streams
//! mean is in Kubernetes' `client-go/tools/portforward`.

mod incoming;
mod outgoing;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use kube::client::Body;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::frames::{Receiver, Sender};
use crate::api::client::ApiClient;
use crate::api::request_kind::RequestKind;
use crate::connect::refusal::Refusal;
use incoming::FrameReceiver;
use outgoing::{FrameSender, open_streams};

const PROTOCOL: HeaderValue = HeaderValue::from_static("SPDY/3.1");
const SUBPROTOCOL_NAME: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const SUBPROTOCOL: HeaderValue = HeaderValue::from_static("portforward.k8s.io");

/// The stream of the error. A client's streams have odd numbers.
const ERROR_STREAM: u32 = 1;
/// The stream of the data.
const DATA_STREAM: u32 = 3;
/// How many pings may wait for their answers. Further ones are not answered.
const WAITING_ANSWERS: usize = 16;
/// How much is read of a response that refuses the protocol.
const MAX_REFUSAL: usize = 64 << 10;

/// Opens a connection to a port of a Pod.
pub(super) async fn open(
    api: &ApiClient,
    name: &str,
    port: u16,
) -> Result<(impl Receiver + use<>, impl Sender + use<>), Refusal> {
    let request = api
        .port_forward_request(name, port)
        .map_err(Refusal::Final)?;
    let request = upgrade_request(request);
    let measurement = RequestKind::from_request(&request).start_measurement();
    let response = api.client.send(request).await.map_err(Refusal::from)?;
    let status = response.status();
    measurement.finish(status.as_u16());
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let message = read_message(response).await;
        let reason = message.clone();
        let reason = reason.unwrap_or_else(|| format!("it answered with HTTP status {status}"));
        return Err(Refusal::Status {
            code: status.as_u16(),
            message,
            cause: reason.into(),
        });
    }
    let is_spdy = response.headers().get(UPGRADE).is_some_and(|protocol| {
        protocol
            .as_bytes()
            .eq_ignore_ascii_case(PROTOCOL.as_bytes())
    });
    if !is_spdy {
        let code = StatusCode::UPGRADE_REQUIRED.as_u16();
        return Err(Refusal::Status {
            code,
            message: None,
            cause: "it switched to another protocol than SPDY/3.1".into(),
        });
    }
    let upgraded = hyper::upgrade::on(response).await;
    let upgraded = upgraded.map_err(|error| Refusal::from(kube::Error::HyperError(error)))?;
    let opened = start(TokioIo::new(upgraded), port).await;
    opened.map_err(|error| Refusal::from(kube::Error::Service(Box::new(error))))
}

/// Opens both streams on a connection.
async fn start<S>(
    socket: S,
    port: u16,
) -> std::io::Result<(impl Receiver + use<S>, impl Sender + use<S>)>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let mut socket = Box::pin(socket);
    socket.write_all(&open_streams(port)).await?;
    socket.flush().await?;
    let (read, write) = tokio::io::split(socket);
    let (pings, answers) = mpsc::channel::<Bytes>(WAITING_ANSWERS);
    Ok((
        FrameReceiver::new(read, pings),
        FrameSender::new(write, answers),
    ))
}

fn upgrade_request(request: Request<Vec<u8>>) -> Request<Body> {
    let mut request = request.map(Body::from);
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, PROTOCOL);
    headers.insert(SUBPROTOCOL_NAME, SUBPROTOCOL);
    request
}

/// Reads why the API server refuses, from a `Status` of Kubernetes. Returns `None` if a proxy answered.
async fn read_message(response: Response<Body>) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let body = Limited::new(response.into_body(), MAX_REFUSAL);
    let body = body.collect().await.ok()?.to_bytes();
    let status: Status = serde_json::from_slice(&body).ok()?;
    Some(status.message)
}

#[cfg(test)]
mod tests;
