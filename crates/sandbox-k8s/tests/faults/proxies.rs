//! Requests to the API server through a proxy.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use sandbox_core::{Error, SandboxBackend};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::options;

pub(crate) fn kubeconfig(server: &str, proxy: Option<&str>) -> (NamedTempFile, ClusterOptions) {
    let proxy = proxy
        .map(|proxy| format!(", proxy-url: '{proxy}'"))
        .unwrap_or_default();
    let text = format!(
        "\
apiVersion: v1
kind: Config
current-context: a
clusters: [{{name: c, cluster: {{server: '{server}'{proxy}}}}}]
contexts: [{{name: a, context: {{cluster: c}}}}]
"
    );
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut options = ClusterOptions::default();
    options.kubeconfig = Some(file.path().to_owned());
    (file, options)
}

/// Reads the head of an HTTP message.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn accept_connect(stream: &mut TcpStream) -> String {
    let asked = read_head(stream).await;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    asked
}

/// Accepts a SOCKS5 client (RFC 1928) with a user and password (RFC 1929), and returns its target.
async fn accept_socks(stream: &mut TcpStream) -> String {
    let mut methods = [0; 3];
    stream.read_exact(&mut methods).await.unwrap();
    assert_eq!(methods, [5, 1, 2]);
    stream.write_all(&[5, 2]).await.unwrap();
    let mut password = [0; 9];
    stream.read_exact(&mut password).await.unwrap();
    assert_eq!(&password, b"\x01\x01u\x05p@:ss");
    stream.write_all(&[1, 0]).await.unwrap();
    let mut wanted = [0; 5];
    stream.read_exact(&mut wanted).await.unwrap();
    let mut host = vec![0; wanted[4].into()];
    stream.read_exact(&mut host).await.unwrap();
    let port = stream.read_u16().await.unwrap();
    stream
        .write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        .await
        .unwrap();
    format!("{}:{port}", String::from_utf8(host).unwrap())
}

/// Serves one request as the proxy and as the API server, and returns the requested target.
async fn serve_proxy(listener: TcpListener, socks: bool) -> String {
    let mut stream = listener.accept().await.unwrap().0;
    let asked = if socks {
        accept_socks(&mut stream).await
    } else {
        accept_connect(&mut stream).await
    };
    let request = read_head(&mut stream).await;
    assert!(
        request.starts_with("GET /api/v1/namespaces/default/pods?"),
        "{request}"
    );
    let body =
        r#"{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
    asked
}

async fn bind_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test]
async fn requests_go_through_the_proxy_of_the_kubeconfig() {
    for socks in [false, true] {
        let (listener, address) = bind_listener().await;
        let scheme = if socks { "socks5" } else { "http" };
        let url = format!("{scheme}://u:p%40:ss@{address}");
        let (_file, wanted) = kubeconfig("http://api.example:6443", Some(&url));
        let backend = KubernetesBackend::new(connect_cluster(&wanted).await.unwrap(), options());
        let listing = tokio::spawn(async move { backend.list(Default::default()).await });
        let asked = tokio::time::timeout(Duration::from_secs(20), serve_proxy(listener, socks))
            .await
            .unwrap();
        if socks {
            assert_eq!(asked, "api.example:6443");
        } else {
            assert!(
                asked.starts_with("CONNECT api.example:6443 HTTP/1.1\r\n"),
                "{asked}"
            );
            assert!(
                asked.contains("Proxy-Authorization: Basic dTpwQDpzcw==\r\n"),
                "{asked}"
            );
        }
        listing.abort();
    }
}

#[tokio::test]
async fn an_invalid_proxy_is_named() {
    for url in ["ftp://proxy", "http://", "http://a b"] {
        let (_file, wanted) = kubeconfig("https://api.example", Some(url));
        let error = connect_cluster(&wanted).await.err().unwrap();
        assert!(matches!(&error, Error::Config { .. }), "{error:?}");
        assert!(
            error.to_string().contains("proxy-url in the kubeconfig"),
            "{url}: {error}"
        );
    }
}

/// The test runs itself in child processes, each with its own proxy variables.
#[test]
fn proxy_settings_of_the_environment_are_respected() {
    if let Ok(expected) = std::env::var("EXPECTED") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (_file, wanted) = kubeconfig("https://api.example:6443", None);
        let opened = runtime.block_on(connect_cluster(&wanted));
        match (expected.as_str(), opened) {
            ("", opened) => drop(opened.unwrap()),
            (expected, opened) => {
                let error = opened.err().unwrap();
                assert!(matches!(&error, Error::Config { .. }), "{error:?}");
                assert!(error.to_string().contains(expected), "{error}");
            }
        }
        return;
    }
    for (expected, proxy, excepted) in [
        ("", "http://127.0.0.1:1", "api.example"),
        ("", "http://127.0.0.1:1", "x.y, .example,"),
        ("", "http://127.0.0.1:1", ""),
        ("", "socks5://127.0.0.1:1", ""),
        ("HTTPS_PROXY is no valid proxy address", "http://a b", ""),
        ("HTTPS_PROXY is no valid proxy address", "ftp://a", ""),
        ("", "ftp://a", "api.example:6443"),
    ] {
        let mut process = Command::new(std::env::current_exe().unwrap());
        process.args([
            "--exact",
            "proxies::proxy_settings_of_the_environment_are_respected",
        ]);
        process
            .env("EXPECTED", expected)
            .env("HTTPS_PROXY", proxy)
            .env("NO_PROXY", excepted);
        let output = process.output().unwrap();
        assert!(
            output.status.success(),
            "{proxy} {excepted}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}
