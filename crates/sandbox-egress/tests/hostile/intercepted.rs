//! A small internet with a host that has a transform, and clients that trust its authority.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use sandbox_egress::{Dial, Egress, HostTransform, Limits, NamedUpstream, Proxy, Resolve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::support::{Inside, Received, TestProxy, World};

pub(crate) const SECRET: &str = "sk-live-5up3r+s3cr3t/0123";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(crate) const LIFETIME: Duration = Duration::from_secs(3600);
pub(crate) const RULES: &str = "none +api.example +good.example";

/// How long anything may take that is expected to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A world with `api.example`, which has a transform with a placeholder in `API_KEY`, and with `good.example`, which has none.
pub(crate) async fn world(answer: &'static [u8]) -> (Arc<World>, Received, TestProxy) {
    let world = World::new();
    world.name("api.example", &["93.184.216.34"]);
    world.name("good.example", &["93.184.216.36"]);
    let (server, authority) = world
        .serve_tls("93.184.216.34:443", "api.example", answer)
        .await;
    let proxy = start(&world, RULES, [api(&authority)], []);
    (world, server, proxy)
}

pub(crate) fn transform(host: &str, authority: &str) -> HostTransform {
    HostTransform::new(host)
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap()
}

pub(crate) fn api(authority: &str) -> HostTransform {
    transform("api.example", authority)
        .placeholder("API_KEY", SECRET)
        .unwrap()
}

/// Starts a proxy with these transforms and upstreams.
pub(crate) fn start<const N: usize, const M: usize>(
    world: &Arc<World>,
    rules: &str,
    transforms: [HostTransform; N],
    upstreams: [NamedUpstream; M],
) -> TestProxy {
    let rules: Egress = rules.parse().unwrap();
    let mut limits = Limits::default();
    limits.handshake = Duration::from_secs(5);
    let (builder, events) = Proxy::builder(rules)
        .resolver(Arc::clone(world) as Arc<dyn Resolve>)
        .dialer(Arc::clone(world) as Arc<dyn Dial>)
        .limits(limits)
        .upstreams(upstreams)
        .unwrap()
        .transforms(transforms, LIFETIME)
        .unwrap()
        .events(10_000);
    TestProxy {
        proxy: builder.build(),
        events,
    }
}

/// The placeholder in a variable.
pub(crate) fn placeholder(proxy: &TestProxy, variable: &str) -> String {
    let variables = proxy.proxy.placeholder_variables();
    let found = variables.into_iter().find(|(name, _)| name == variable);
    found.unwrap().1
}

/// TLS as a program inside speaks it, trusting the proxy's authority alone.
pub(crate) async fn speak_tls(
    proxy: &TestProxy,
    inside: Inside,
    server_name: &str,
    protocols: &[&str],
) -> io::Result<TlsStream<DuplexStream>> {
    let authority = proxy.proxy.authority().unwrap();
    let authority = CertificateDer::from_pem_slice(authority.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols
        .iter()
        .map(|one| one.as_bytes().to_vec())
        .collect();
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, inside.0);
    timeout(LIMIT, connecting).await.unwrap()
}

/// Opens a tunnel to a host, and TLS in it.
pub(crate) async fn open(proxy: &TestProxy, target: &str) -> TlsStream<DuplexStream> {
    let (inside, line) = proxy.tunnel(target).await;
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    let (name, _) = target.split_once(':').unwrap();
    speak_tls(proxy, inside, name, &["h2", "http/1.1"])
        .await
        .unwrap()
}

/// Sends a message over TLS to `api.example`, and returns everything that comes back.
pub(crate) async fn ask(proxy: &TestProxy, message: &str) -> String {
    let mut stream = open(proxy, "api.example:443").await;
    stream.write_all(message.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    rest(&mut stream).await
}

/// Reads until the connection is closed.
pub(crate) async fn rest(stream: &mut TlsStream<DuplexStream>) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut off has no end in TLS.
    timeout(LIMIT, stream.read_to_end(&mut bytes))
        .await
        .unwrap()
        .ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads until a text has come.
pub(crate) async fn read_until(stream: &mut TlsStream<DuplexStream>, text: &str) -> String {
    let mut seen = String::new();
    while !seen.ends_with(text) {
        let byte = timeout(LIMIT, stream.read_u8()).await.unwrap().unwrap();
        seen.push(char::from(byte));
    }
    seen
}

/// A request for a path of `api.example` with these fields.
pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n{fields}\r\n")
}
