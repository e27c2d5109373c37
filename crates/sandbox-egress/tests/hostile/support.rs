//! A small internet: names, addresses, and what listens there.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use sandbox_egress::{
    Ask, Dial, Egress, EgressEvent, EgressEvents, EgressOutcome, Limits, NamedUpstream, Proxy,
    Resolve, Upstream,
};
use sandbox_testkit::https::{HttpsOrigin, OriginStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long anything may take that is expected to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// Names and addresses, and which were asked for.
#[derive(Debug, Default)]
pub(crate) struct World {
    /// The answers for a name, one for each question; the last one stays.
    names: Mutex<HashMap<String, VecDeque<Vec<IpAddr>>>>,
    places: Mutex<HashMap<SocketAddr, SocketAddr>>,
    pub(crate) questions: Mutex<Vec<String>>,
    pub(crate) dials: Mutex<Vec<SocketAddr>>,
    /// Numbers of errors that the next attempts to connect end with.
    pub(crate) failures: Mutex<Vec<i32>>,
    open: Arc<AtomicUsize>,
    /// The most connections to servers at once.
    pub(crate) most_open: AtomicUsize,
}

#[async_trait]
impl Resolve for World {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.questions.lock().unwrap().push(name.to_owned());
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        if answers.len() > 1 {
            return Ok(answers.pop_front().unwrap());
        }
        Ok(answers[0].clone())
    }
}

#[async_trait]
impl Dial for World {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Upstream>> {
        self.dials.lock().unwrap().push(address);
        if let Some(number) = self.failures.lock().unwrap().pop() {
            return Err(io::Error::from_raw_os_error(number));
        }
        let place = self.places.lock().unwrap().get(&address).copied();
        let place = place.ok_or(io::ErrorKind::ConnectionRefused)?;
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_open.fetch_max(open, Ordering::SeqCst);
        let counted = Counted(Arc::clone(&self.open));
        let (reader, writer) = TcpStream::connect(place).await?.into_split();
        Ok(Box::new(tokio::io::join(
            CountedReader(reader, counted),
            writer,
        )))
    }
}

/// Counts an open connection until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct CountedReader(
    OwnedReadHalf,
    #[expect(dead_code, reason = "its drop counts")] Counted,
);

impl AsyncRead for CountedReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Gives a name these answers, one after the other; addresses of one answer have commas between them.
    pub(crate) fn name(&self, name: &str, answers: &[&str]) {
        let answers = answers.iter().map(|answer| {
            let addresses = answer.split(',').map(|address| address.parse().unwrap());
            addresses.collect()
        });
        let answers = answers.collect();
        self.names.lock().unwrap().insert(name.to_owned(), answers);
    }

    /// Starts a server at an address. It passes on what it receives on each connection, answers each time with `answer`,
    /// and closes when the other side does.
    pub(crate) async fn serve(&self, address: &str, answer: &'static [u8]) -> Received {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        self.places
            .lock()
            .unwrap()
            .insert(address.parse().unwrap(), place);
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(record(stream, answer, sender.clone()));
            }
        });
        Received(receiver)
    }

    /// Starts a server that speaks TLS at an address. Returns its connections and the authority to trust.
    pub(crate) async fn accept_tls(
        &self,
        address: &str,
        name: &str,
    ) -> (mpsc::UnboundedReceiver<OriginStream>, String) {
        let origin = HttpsOrigin::bind(&[name]).await.unwrap();
        self.put(address, origin.address());
        let authority = origin.authority();
        let (sender, receiver) = mpsc::unbounded_channel();
        origin.serve(move |stream| {
            drop(sender.send(stream));
            std::future::ready(())
        });
        (receiver, authority)
    }

    /// As [`serve`](Self::serve), with TLS. Returns the authority to trust as well.
    pub(crate) async fn serve_tls(
        &self,
        address: &str,
        name: &str,
        answer: &'static [u8],
    ) -> (Received, String) {
        let (mut streams, authority) = self.accept_tls(address, name).await;
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(stream) = streams.recv().await {
                tokio::spawn(record(stream, answer, sender.clone()));
            }
        });
        (Received(receiver), authority)
    }

    /// Puts what listens here at an address.
    pub(crate) fn put(&self, address: &str, place: SocketAddr) {
        let mut places = self.places.lock().unwrap();
        places.insert(address.parse().unwrap(), place);
    }

    /// Starts a proxy with these rules.
    pub(crate) fn proxy(self: &Arc<Self>, rules: &str) -> TestProxy {
        self.proxy_with(rules, Limits::default())
    }

    pub(crate) fn proxy_with(self: &Arc<Self>, rules: &str, limits: Limits) -> TestProxy {
        self.proxy_of(rules, limits, [], None)
    }

    /// Starts a proxy with these rules and upstreams.
    pub(crate) fn proxy_for<const N: usize>(
        self: &Arc<Self>,
        rules: &str,
        limits: Limits,
        upstreams: [NamedUpstream; N],
    ) -> TestProxy {
        self.proxy_of(rules, limits, upstreams, None)
    }

    /// Starts a proxy with these rules that asks about names.
    pub(crate) fn proxy_that_asks(
        self: &Arc<Self>,
        rules: &str,
        limits: Limits,
        ask: Arc<dyn Ask>,
    ) -> TestProxy {
        self.proxy_of(rules, limits, [], Some(ask))
    }

    fn proxy_of<const N: usize>(
        self: &Arc<Self>,
        rules: &str,
        limits: Limits,
        upstreams: [NamedUpstream; N],
        ask: Option<Arc<dyn Ask>>,
    ) -> TestProxy {
        let rules: Egress = rules.parse().unwrap();
        let (mut builder, events) = Proxy::builder(rules)
            .resolver(Arc::clone(self) as Arc<dyn Resolve>)
            .dialer(Arc::clone(self) as Arc<dyn Dial>)
            .refuse(["203.0.114.9".parse().unwrap()])
            .limits(limits)
            .upstreams(upstreams)
            .unwrap()
            .events(10_000);
        if let Some(ask) = ask {
            builder = builder.ask(ask);
        }
        TestProxy {
            proxy: builder.build(),
            events,
        }
    }

    pub(crate) fn dialled(&self) -> Vec<String> {
        self.dials
            .lock()
            .unwrap()
            .iter()
            .map(SocketAddr::to_string)
            .collect()
    }
}

/// Passes on what is received, and answers each time.
async fn record(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: &'static [u8],
    sender: mpsc::UnboundedSender<String>,
) {
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        drop(sender.send(String::from_utf8_lossy(&buffer[..read]).into_owned()));
        if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// What a server has received.
pub(crate) struct Received(mpsc::UnboundedReceiver<String>);

impl Received {
    pub(crate) async fn next(&mut self) -> String {
        timeout(LIMIT, self.0.recv()).await.unwrap().unwrap()
    }

    /// Whether nothing has arrived.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub(crate) struct TestProxy {
    pub(crate) proxy: Proxy,
    pub(crate) events: EgressEvents,
}

impl TestProxy {
    /// Opens a connection from inside.
    pub(crate) fn connect(&self) -> Inside {
        let (near, far) = tokio::io::duplex(1 << 16);
        let proxy = self.proxy.clone();
        tokio::spawn(async move { proxy.serve(far).await });
        Inside(near)
    }

    /// Sends one message on a connection of its own, and returns everything that comes back until it is closed.
    pub(crate) async fn ask(&self, message: &str) -> String {
        let mut inside = self.connect();
        inside.send(message.as_bytes()).await;
        inside.rest().await
    }

    /// Sends a CONNECT, and returns the connection and the first line of the response.
    pub(crate) async fn tunnel(&self, target: &str) -> (Inside, String) {
        let mut inside = self.connect();
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        inside.send(head.as_bytes()).await;
        let head = inside.head().await;
        let line = head.lines().next().unwrap_or_default().to_owned();
        (inside, line)
    }

    pub(crate) async fn event(&mut self) -> EgressEvent {
        timeout(LIMIT, self.events.next()).await.unwrap().unwrap()
    }

    /// The next event, which has to be a refusal; returns its reason.
    pub(crate) async fn refusal(&mut self) -> String {
        let event = self.event().await;
        assert_eq!(event.outcome, EgressOutcome::Refused, "{event:?}");
        event.reason.unwrap()
    }
}

/// A connection from inside.
pub(crate) struct Inside(pub(crate) DuplexStream);

impl Inside {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Reads the head of a response.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(LIMIT, self.0.read_u8()).await.unwrap() {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    }

    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        timeout(LIMIT, self.0.read_exact(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        bytes
    }

    /// Reads until the connection is closed.
    pub(crate) async fn rest(&mut self) -> String {
        String::from_utf8_lossy(&self.rest_bytes().await).into_owned()
    }

    pub(crate) async fn rest_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A closed duplex is an end of file.
        timeout(LIMIT, self.0.read_to_end(&mut bytes))
            .await
            .unwrap()
            .unwrap();
        bytes
    }
}

/// A ClientHello as rustls writes it.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut hello).unwrap();
    }
    hello
}
