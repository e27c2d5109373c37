//! TLS: what is negotiated, and which certificate is shown.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cases;
use crate::support::World;

cases![
    http_2_and_http_1_are_negotiated,
    a_new_certificate_is_shown_without_a_restart,
    what_does_no_handshake_is_cut_off,
];

const NAME: &str = "localhost";

/// A gateway with a certificate, and the directory of its files.
struct Tls {
    world: World,
    dir: tempfile::TempDir,
    certificate: CertificateDer<'static>,
}

impl Tls {
    async fn start(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificate = write_certificate(dir.path());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        let yaml = format!("tls: {{certificate: {cert}, key: {key}}}\nlimits: {{{limits}}}");
        Self {
            world: World::start_with(&yaml).await,
            dir,
            certificate,
        }
    }

    /// Does a handshake that accepts only this certificate.
    async fn connect(
        &self,
        certificate: &CertificateDer<'static>,
        protocols: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let stream = TcpStream::connect(self.world.address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let uri = format!("https://{}/v2/sandboxes", self.world.address);
        Request::get(uri)
            .header("host", self.world.address.to_string())
            .header("x-api-key", &self.world.key)
            .body(Empty::new())
            .unwrap()
    }
}

/// Writes a new certificate and its key over the former ones.
fn write_certificate(dir: &Path) -> CertificateDer<'static> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    for (name, content) in [
        ("key.pem", signing_key.serialize_pem()),
        ("cert.pem", cert.pem()),
    ] {
        std::fs::write(dir.join("new"), content).unwrap();
        std::fs::rename(dir.join("new"), dir.join(name)).unwrap();
    }
    cert.der().clone()
}

async fn http_2_and_http_1_are_negotiated() {
    let tls = Tls::start("").await;
    for (offered, expected) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        // A client that offers nothing speaks HTTP/1.1.
        (&[], None),
    ] {
        let stream = tls.connect(&tls.certificate, offered).await.unwrap();
        let negotiated = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(
            negotiated.as_deref(),
            expected.map(str::as_bytes),
            "{offered:?}"
        );
        let io = TokioIo::new(stream);
        let response = if expected == Some("h2") {
            let executor = TokioExecutor::new();
            let connecting = hyper::client::conn::http2::handshake(executor, io).await;
            let (mut sender, connection) = connecting.unwrap();
            tokio::spawn(connection);
            // Requests share the connection.
            let (first, second) = tokio::join!(
                sender.clone().send_request(tls.request()),
                sender.send_request(tls.request()),
            );
            assert_eq!(second.unwrap().status(), StatusCode::OK);
            let response = first.unwrap();
            assert_eq!(response.version(), Version::HTTP_2);
            response
        } else {
            let connecting = hyper::client::conn::http1::handshake(io).await;
            let (mut sender, connection) = connecting.unwrap();
            tokio::spawn(connection);
            let response = sender.send_request(tls.request()).await.unwrap();
            assert_eq!(response.version(), Version::HTTP_11);
            response
        };
        assert_eq!(response.status(), StatusCode::OK, "{offered:?}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "[]", "{offered:?}");
    }
    // Nothing in common.
    let refused = tls.connect(&tls.certificate, &["spdy/3"]).await;
    assert!(refused.is_err());
}

async fn a_new_certificate_is_shown_without_a_restart() {
    let tls = Tls::start("").await;
    let mut before = tls.connect(&tls.certificate, &["http/1.1"]).await.unwrap();
    let renewed = write_certificate(tls.dir.path());
    let mut attempts = 0;
    while tls.connect(&renewed, &[]).await.is_err() {
        attempts += 1;
        assert!(attempts < 200, "the new certificate is not shown");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(tls.connect(&tls.certificate, &[]).await.is_err());
    // Connections go on with the former one.
    let request = b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    before.write_all(request).await.unwrap();
    let mut answer = String::new();
    before.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // One that is broken is not shown.
    std::fs::write(tls.dir.path().join("cert.pem"), "broken").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    tls.connect(&renewed, &[]).await.unwrap();
}

async fn what_does_no_handshake_is_cut_off() {
    let tls = Tls::start("header-timeout: 300ms").await;
    let mut silent = TcpStream::connect(tls.world.address).await.unwrap();
    let mut plain = TcpStream::connect(tls.world.address).await.unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    for stream in [&mut silent, &mut plain] {
        let mut answer = Vec::new();
        // It may end with a reset: what was sent is not read.
        let ended = stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "it is cut off");
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    tls.connect(&tls.certificate, &[]).await.unwrap();
}
