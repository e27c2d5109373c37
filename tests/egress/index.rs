//! Servers on loopback: an index of packages over HTTPS, and plain text over HTTP.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::Outcome;

/// Files by path.
pub(crate) type Files = HashMap<String, Vec<u8>>;

/// Serves files over HTTPS under this name. Returns where, and the certificate to trust.
pub(crate) async fn serve_https(name: &str, files: Files) -> Outcome<(SocketAddr, String)> {
    let certified = rcgen::generate_simple_self_signed(vec![name.to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?;
    let files = Arc::new(files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, files) = (acceptor.clone(), Arc::clone(&files));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    answer(stream, &files).await.ok();
                }
            });
        }
    });
    Ok((place, certified.cert.pem()))
}

/// Serves files over HTTP. Returns where.
pub(crate) async fn serve_http(files: Files) -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let place = listener.local_addr()?;
    let files = Arc::new(files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let files = Arc::clone(&files);
            tokio::spawn(async move { answer(stream, &files).await.ok() });
        }
    });
    Ok(place)
}

/// Answers requests until the client closes the connection.
async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    files: &Files,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match files.get(path) {
            Some(body) => ("200 OK", &body[..]),
            None => ("404 Not Found", &b"none"[..]),
        };
        let kind = if path.ends_with('/') {
            "text/html"
        } else {
            "application/octet-stream"
        };
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(reply.as_bytes()).await?;
        stream.write_all(body).await?;
        stream.flush().await?;
    }
}
