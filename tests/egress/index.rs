//! Servers on loopback: an index of packages over HTTPS, and plain text over HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sandbox_testkit::https::{Answer, HttpsOrigin, answer_requests, respond};
use tokio::net::TcpListener;

use crate::Outcome;

/// Files by path.
pub(crate) type Files = HashMap<String, Vec<u8>>;

/// Serves files over HTTPS under this name. Returns where, and the certificate to trust.
pub(crate) async fn serve_https(name: &str, files: Files) -> Outcome<(SocketAddr, String)> {
    serve_https_with(name, serve_files(files)).await
}

/// Answers over HTTPS under this name. Returns where, and the certificate to trust.
pub(crate) async fn serve_https_with(name: &str, answer: Answer) -> Outcome<(SocketAddr, String)> {
    let origin = HttpsOrigin::bind(&[name]).await?;
    let place = (origin.address(), origin.authority());
    origin.answer(answer);
    Ok(place)
}

/// Serves files over HTTP. Returns where.
pub(crate) async fn serve_http(files: Files) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?;
    let answer = serve_files(files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { answer_requests(stream, &answer).await.ok() });
        }
    });
    Ok(place)
}

/// Answers with files. What follows a question mark is not part of their path.
pub(crate) fn serve_files(files: Files) -> Answer {
    Arc::new(move |head: &str, _: &[u8]| {
        let target = head.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let kind = if path.ends_with('/') {
            "text/html"
        } else {
            "application/octet-stream"
        };
        match files.get(path) {
            Some(body) => respond("200 OK", kind, body),
            None => respond("404 Not Found", kind, b"none"),
        }
    })
}
