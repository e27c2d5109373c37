//! HTTPS origins on loopback, each with a certificate of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The longest head of a request.
const MAX_HEAD: usize = 1 << 16;

/// Answers the head of a request, and its content, with a whole response.
pub type Answer = Arc<dyn Fn(&str, &[u8]) -> Vec<u8> + Send + Sync>;

/// A connection to an origin, after its handshake.
pub type OriginStream = TlsStream<TcpStream>;

/// An HTTPS origin on loopback, whose certificate is also the authority to trust. It serves once it is given what to do with
/// connections, until the runtime ends.
pub struct HttpsOrigin {
    listener: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    authority: String,
}

impl HttpsOrigin {
    /// Listens on a free port, with a certificate for these names and addresses.
    ///
    /// # Errors
    ///
    /// If a name is not valid, or if nothing can be listened on.
    pub async fn bind(names: &[&str]) -> io::Result<Self> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let certified = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .map_err(io::Error::other)?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            address: listener.local_addr()?,
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            authority: certified.cert.pem(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate to trust, in PEM format.
    pub fn authority(&self) -> String {
        self.authority.clone()
    }

    /// Calls `serve` with each connection, in a task of its own.
    pub fn serve<F>(self, serve: impl Fn(OriginStream) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let serve = Arc::new(serve);
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                let (acceptor, serve) = (self.acceptor.clone(), Arc::clone(&serve));
                tokio::spawn(async move {
                    // A client that does not trust the certificate is no failure of the origin.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve(stream).await;
                    }
                });
            }
        });
    }

    /// Answers requests.
    pub fn answer(self, answer: Answer) {
        self.serve(move |stream| {
            let answer = Arc::clone(&answer);
            async move { drop(answer_requests(stream, &answer).await) }
        });
    }

    /// Answers every request with this text, and remembers the heads of requests.
    pub fn answer_with_text(self, text: &'static str) -> Heads {
        let heads = Heads::default();
        let seen = heads.clone();
        self.answer(Arc::new(move |head: &str, _: &[u8]| {
            seen.lock().push_str(head);
            respond("200 OK", "text/plain", text.as_bytes())
        }));
        heads
    }
}

/// The heads of the requests that an origin has received.
#[derive(Debug, Clone, Default)]
pub struct Heads(Arc<Mutex<String>>);

impl Heads {
    /// All of them, one after the other.
    pub fn text(&self) -> String {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers requests until the client closes the connection.
///
/// # Errors
///
/// If the connection ends, and for a head that is too long.
pub async fn answer_requests(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &Answer,
) -> io::Result<()> {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() == MAX_HEAD {
                return Err(io::ErrorKind::InvalidData.into());
            }
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

/// The value of a header in the head of a request.
pub fn find_header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// Writes a response.
pub fn respond(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
