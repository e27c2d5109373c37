//! Connections that are upgraded, as for WebSockets: after the handshake they are copied as they are.

use axum::body::Body;
use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::rewrite::requested_upgrade;

/// Takes the client's side of an upgrade out of a request that asks for one.
pub(super) fn take_client(request: &mut Request<Body>) -> Option<OnUpgrade> {
    let client = request.extensions_mut().remove::<OnUpgrade>();
    requested_upgrade(request.headers()).and(client)
}

/// Joins both sides once the response has been sent. It ends when both directions have ended, or one side is cut off,
/// which cuts off the other.
pub(super) fn join(client: OnUpgrade, response: &mut Response<Body>, port: u16) {
    let Some(server) = response.extensions_mut().remove::<OnUpgrade>() else {
        return;
    };
    tokio::spawn(async move {
        let (client, server) = match tokio::try_join!(client, server) {
            Ok(sides) => sides,
            Err(error) => {
                tracing::debug!(port, %error, "connection not upgraded");
                return;
            }
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut server).await {
            tracing::debug!(port, %error, "upgraded connection cut off");
        }
    });
}
