//! Servers that send zeros, over HTTP and HTTPS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Where the servers listen.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
}

/// How much is written at once.
const PIECE: usize = 256 << 10;

/// Starts servers of `/large` and `/small`, which have these sizes, and of small responses to everything else.
pub(super) async fn serve(large: usize, small: usize) -> Result<Servers> {
    let certified = rcgen::generate_simple_self_signed(vec!["bench.test".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (plain, secure) = (
        TcpListener::bind("127.0.0.1:0").await?,
        TcpListener::bind("127.0.0.1:0").await?,
    );
    let servers = Servers {
        http: plain.local_addr()?,
        https: secure.local_addr()?,
    };
    let sizes = (large, small);
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(answer(stream, sizes));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = secure.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                answer(acceptor.accept(stream).await?, sizes).await
            });
        }
    });
    Ok(servers)
}

/// Answers requests until the client closes the connection, or asks for that.
async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    (large, small): (usize, usize),
) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let zeros = vec![0; PIECE];
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first).await? == 0 {
            return Ok(());
        }
        let (mut line, mut closes) = (String::new(), false);
        while line != "\r\n" {
            closes |= line.to_ascii_lowercase().starts_with("connection: close");
            line.clear();
            stream.read_line(&mut line).await?;
        }
        let mut rest = match first.split(' ').nth(1) {
            Some("/large") => large,
            Some("/small") => small,
            _ => 100,
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {rest}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        while rest > 0 {
            let piece = rest.min(zeros.len());
            stream.write_all(&zeros[..piece]).await?;
            rest -= piece;
        }
        stream.flush().await?;
        if closes {
            return stream.shutdown().await;
        }
    }
}
