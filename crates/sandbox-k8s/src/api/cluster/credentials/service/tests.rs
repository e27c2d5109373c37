use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use kube::config::{AuthInfo, ExecConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::ServiceExt;

use super::*;

/// A server that accepts one token. It counts the requests.
struct Server {
    address: String,
    accepted: Arc<Mutex<String>>,
    requests: Arc<AtomicUsize>,
}

async fn start_server(accepted: &str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server {
        address: format!("http://{}/", listener.local_addr().unwrap()),
        accepted: Arc::new(Mutex::new(accepted.to_owned())),
        requests: Arc::default(),
    };
    let (accepted, requests) = (Arc::clone(&server.accepted), Arc::clone(&server.requests));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\nbody") {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
            }
            requests.fetch_add(1, Ordering::Relaxed);
            let header = format!("authorization: Bearer {}\r\n", lock(&accepted));
            let status = match String::from_utf8(request).unwrap().contains(&header) {
                true => "200 OK",
                false => "401 Unauthorized",
            };
            let response =
                format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    });
    server
}

impl Server {
    async fn send(&self, client: &AuthenticatedClient<HttpConnector>) -> Result<u16, String> {
        let request = Request::post(&self.address)
            .body(Body::from(b"body".to_vec()))
            .unwrap();
        match client.clone().oneshot(request).await {
            Ok(response) => Ok(response.status().as_u16()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

async fn client(auth: &AuthInfo) -> AuthenticatedClient<HttpConnector> {
    crate::api::cluster::install_crypto_provider();
    let credentials = Credentials::read(auth).unwrap();
    credentials.prepare(Duration::from_secs(20)).await.unwrap();
    AuthenticatedClient::new(Arc::new(credentials), HttpConnector::new())
}

#[tokio::test]
async fn a_replaced_token_file_is_read_when_the_token_is_refused() {
    let server = start_server("one").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\n").unwrap();
    let client = client(&AuthInfo {
        token_file: Some(file.path().to_str().unwrap().to_owned()),
        ..AuthInfo::default()
    })
    .await;
    assert_eq!(server.send(&client).await, Ok(200));
    std::fs::write(file.path(), "two\n").unwrap();
    *lock(&server.accepted) = "two".into();
    assert_eq!(server.send(&client).await, Ok(200));
    assert_eq!(server.requests(), 3, "the refused request was sent again");
    *lock(&server.accepted) = "three".into();
    assert_eq!(server.send(&client).await, Ok(401));
    assert_eq!(server.requests(), 4, "there is no other token");
}

#[tokio::test]
async fn a_refused_token_without_alternative_is_sent_once() {
    let server = start_server("other").await;
    let fixed = client(&AuthInfo {
        token: Some("one".to_owned().into()),
        ..AuthInfo::default()
    })
    .await;
    assert_eq!(server.send(&fixed).await, Ok(401));
    assert_eq!(server.requests(), 1);
    assert_eq!(
        server.send(&client(&AuthInfo::default()).await).await,
        Ok(401)
    );
    assert_eq!(server.requests(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn a_credential_program_runs_once_while_its_token_is_valid() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let with_expiry = |expiry: &str| {
        let script = format!(
            r#"echo x >> {0}; printf '{{"status": {{"token": "t%d", "expirationTimestamp": "{expiry}"}}}}' $(wc -l < {0})"#,
            ran.display()
        );
        AuthInfo {
            exec: Some(ExecConfig {
                api_version: Some("client.authentication.k8s.io/v1".into()),
                command: Some("sh".into()),
                args: Some(vec!["-c".into(), script]),
                ..ExecConfig::default()
            }),
            ..AuthInfo::default()
        }
    };
    let count_runs = || std::fs::read_to_string(&ran).unwrap().lines().count();

    let server = start_server("t1").await;
    let valid = client(&with_expiry("2999-01-01T00:00:00Z")).await;
    let sent = tokio::join!(
        server.send(&valid),
        server.send(&valid),
        server.send(&valid)
    );
    assert_eq!(sent, (Ok(200), Ok(200), Ok(200)));
    // A token that was just returned and is refused does not run the program for each request.
    *lock(&server.accepted) = "none".into();
    assert_eq!(server.send(&valid).await, Ok(401));
    assert_eq!(count_runs(), 1);

    // Expired ones are renewed before each request.
    *lock(&server.accepted) = "t3".into();
    let expired = client(&with_expiry("2020-01-01T00:00:00Z")).await;
    assert_eq!(count_runs(), 2);
    assert_eq!(server.send(&expired).await, Ok(200));
    assert_eq!(count_runs(), 3);
}
