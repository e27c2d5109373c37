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

/// Answers the head of a request, and its content, with a whole response.
pub(crate) type Answer = Arc<dyn Fn(&str, &[u8]) -> Vec<u8> + Send + Sync>;

/// Serves files over HTTPS under this name. Returns where, and the certificate to trust.
pub(crate) async fn serve_https(name: &str, files: Files) -> Outcome<(SocketAddr, String)> {
    serve_https_with(name, serve_files(files)).await
}

/// Answers over HTTPS under this name. Returns where, and the certificate to trust.
pub(crate) async fn serve_https_with(name: &str, answer: Answer) -> Outcome<(SocketAddr, String)> {
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
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), Arc::clone(&answer));
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &answer).await.ok();
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
    let answer = serve_files(files);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move { serve(stream, &answer).await.ok() });
        }
    });
    Ok(place)
}

/// The value of a header in the head of a request.
pub(crate) fn find_header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Writes a response.
pub(crate) fn respond(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
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

/// Answers requests until the client closes the connection.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answer,
) -> std::io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?);
        }
        let head = String::from_utf8_lossy(&head);
        let length = find_header(&head, "content-length").and_then(|length| length.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        stream.write_all(&answer(&head, &body)).await?;
        stream.flush().await?;
    }
}
