//! Servers that send zeros, over HTTP and HTTPS, and a forward proxy that checks nothing: a process of its own
//! (`xtask bench egress-server`), so that the memory of the client is its own.

use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
    copy_bidirectional,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::child::end_with_stdin;

/// The sizes of `/large` and `/small`. Everything else is tiny.
pub(super) const LARGE: usize = 300 << 20;
pub(super) const SMALL: usize = 64 << 10;
/// How much is written at once.
const PIECE: usize = 256 << 10;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Where the servers and the proxy listen.
#[derive(Debug, Clone)]
pub(super) struct Servers {
    pub(super) http: SocketAddr,
    pub(super) https: SocketAddr,
    pub(super) relay: SocketAddr,
}

/// The process. Dropping it ends it, because its input ends.
pub(super) struct Process {
    child: Child,
    input: Option<ChildStdin>,
}

impl Process {
    /// Starts it, and returns where its servers listen.
    pub(super) fn start() -> Result<(Self, Servers)> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench", "egress-server"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the servers")?;
        let stdout = child.stdout.take().context("the servers' output")?;
        let mut line = String::new();
        io::BufReader::new(stdout).read_line(&mut line)?;
        let places: Vec<SocketAddr> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [http, https, relay] = places[..] else {
            anyhow::bail!("the servers did not start: {line:?}");
        };
        let input = child.stdin.take();
        let servers = Servers { http, https, relay };
        Ok((Self { child, input }, servers))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.input = None;
        if let Err(error) = self.child.wait() {
            eprintln!("bench egress: the servers: {error}");
        }
    }
}

/// Serves until the standard input ends.
pub(crate) fn serve() -> Result<()> {
    end_with_stdin();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let servers = start().await?;
            println!("{} {} {}", servers.http, servers.https, servers.relay);
            std::future::pending().await
        })
}

async fn start() -> Result<Servers> {
    let certified = rcgen::generate_simple_self_signed(vec!["bench.test".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key.into())?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let bind = || TcpListener::bind("127.0.0.1:0");
    let (plain, secure, relay) = (bind().await?, bind().await?, bind().await?);
    let servers = Servers {
        http: plain.local_addr()?,
        https: secure.local_addr()?,
        relay: relay.local_addr()?,
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = plain.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = secure.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                answer(acceptor.accept(stream).await?).await
            });
        }
    });
    let server = servers.https;
    tokio::spawn(async move {
        while let Ok((client, _)) = relay.accept().await {
            // curl ends its connections without a word.
            tokio::spawn(carry(client, server));
        }
    });
    Ok(servers)
}

/// Connects every CONNECT to the server.
async fn carry(mut client: TcpStream, server: SocketAddr) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let mut upstream = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(())
}

/// Answers requests until the client closes the connection, or asks for that.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
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
            Some("/large") => LARGE,
            Some("/small") => SMALL,
            _ => 100,
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {rest}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        while rest > 0 {
            let piece = rest.min(PIECE);
            stream.write_all(&ZEROS[..piece]).await?;
            rest -= piece;
        }
        stream.flush().await?;
        if closes {
            return stream.shutdown().await;
        }
    }
}
