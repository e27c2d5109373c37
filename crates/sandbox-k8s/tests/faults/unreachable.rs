//! An API server that cannot be connected to: the reason is given in plain words.

use std::error::Error as Cause;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};
use sandbox_core::{Error, SandboxBackend};
use sandbox_k8s::{KubernetesBackend, connect_cluster};

use crate::proxies::kubeconfig;
use crate::support::options;

/// The certificate and key of some other server.
const CERTIFICATE: &[u8] =
    include_bytes!("../../src/api/cluster/credentials/client_certificate/testdata/one.crt");
const KEY: &[u8] =
    include_bytes!("../../src/api/cluster/credentials/client_certificate/testdata/one.key");

/// Returns the error of a list.
async fn list_error(server: &str, proxy: Option<&str>) -> Error {
    let (_file, wanted) = kubeconfig(server, proxy);
    let backend = KubernetesBackend::new(connect_cluster(&wanted).await.unwrap(), options());
    backend.list(Default::default()).await.unwrap_err()
}

fn causes(error: &Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts
}

/// Starts handshakes until the client breaks them off.
fn serve_tls(listener: &TcpListener) {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    while let Ok((mut stream, _)) = listener.accept() {
        let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
    }
}

#[tokio::test]
async fn a_refused_certificate_is_reported_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || serve_tls(&listener));
    let began = Instant::now();
    let error = list_error(&server, None).await;
    let text = error.to_string();
    assert!(
        text.contains("the API server's certificate is refused: ")
            && text.contains("check the server, certificate-authority"),
        "{text}"
    );
    assert!(!error.is_retryable() && causes(&error).is_empty());
    assert!(began.elapsed() < Duration::from_secs(5), "it was retried");
}

#[tokio::test]
async fn the_cause_of_a_refused_connection_is_the_reason_alone() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", unused.local_addr().unwrap());
    drop(unused);
    let error = list_error(&server, None).await;
    assert!(error.to_string().contains("does not respond"), "{error}");
    assert!(error.is_retryable() && error.retry_after().is_some());
    let causes = causes(&error);
    assert!(
        matches!(&causes[..], [cause] if cause.starts_with("Connection refused")),
        "{causes:?}"
    );
}

#[tokio::test]
async fn a_proxy_that_cannot_be_reached_is_named() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    let [tunnel, socks] =
        ["http", "socks5"].map(|scheme| format!("{scheme}://user:secret@{address}"));
    let server = "https://api.example:6443";
    // Each is tried for ten seconds.
    let (tunnel, socks) = tokio::join!(
        list_error(server, Some(&tunnel)),
        list_error(server, Some(&socks))
    );
    for error in [tunnel, socks] {
        let causes = causes(&error).join(", ");
        assert!(
            causes.contains(&format!("the proxy {address}: ")) && !causes.contains("secret"),
            "{causes}"
        );
    }
}
