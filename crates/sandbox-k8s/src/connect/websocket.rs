//! Opens WebSockets to the API server, which a Pod's streams are carried in.

use futures_util::{Sink, Stream};
use http::Request;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::refusal::Refusal;
use crate::api::client::ApiClient;
use crate::api::request_kind::RequestKind;

/// The status of a response that opens a WebSocket, RFC 6455 §4.1.
const SWITCHING_PROTOCOLS: u16 = 101;

/// A WebSocket.
pub(super) trait Socket:
    Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + Unpin
{
}

impl<S> Socket for S where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + Unpin
{
}

/// A WebSocket to the API server.
pub(super) type BoxSocket = Box<dyn Socket>;

/// Opens a WebSocket.
pub(super) async fn open(api: &ApiClient, request: Request<Vec<u8>>) -> Result<BoxSocket, Refusal> {
    let measurement = RequestKind::from_request(&request).start_measurement();
    let connection = api.client.connect(request).await.map_err(Refusal::from)?;
    measurement.finish(SWITCHING_PROTOCOLS);
    Ok(Box::new(connection.into_stream()))
}
