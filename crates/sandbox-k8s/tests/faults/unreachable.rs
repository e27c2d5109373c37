//! An API server that does not speak as the kubeconfig says: the reason is given in plain words.

use std::error::Error as Cause;
use std::io::{Read, Write};
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
async fn list_error(server: &str) -> Error {
    let (_file, wanted) = kubeconfig(server, None);
    let backend = KubernetesBackend::new(connect_cluster(&wanted).await.unwrap(), options());
    backend.list(Default::default()).await.unwrap_err()
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
    let error = list_error(&server).await;
    let text = error.to_string();
    assert!(
        text.contains("the API server's certificate is refused: ")
            && text.contains("check the server, certificate-authority"),
        "{text}"
    );
    assert!(!error.is_retryable() && error.source().is_none());
    assert!(began.elapsed() < Duration::from_secs(5), "it was retried");
}

/// Responds as Go's servers do on a port that expects TLS.
fn serve_plain_requests(listener: &TcpListener) {
    while let Ok((mut stream, _)) = listener.accept() {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
            head.push(byte[0]);
        }
        let page =
            "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
        stream.write_all(page.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn a_server_that_expects_tls_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || serve_plain_requests(&listener));
    let error = list_error(&server).await;
    assert!(
        error.to_string().contains("expects TLS: use https://") && !error.is_retryable(),
        "{error}"
    );
}
