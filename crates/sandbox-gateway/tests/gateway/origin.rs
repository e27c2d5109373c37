//! An HTTPS origin of this machine, whose secret sandboxes use and never have.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::World;

pub(crate) const SECRET: &str = "sk-live-0123456789";

/// An HTTPS origin of this machine, which says hello. Its files are there as long as it is.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// The file of the certificate to trust.
    pub(crate) authority: String,
    /// The file of the secret.
    pub(crate) secret: String,
    /// The heads of the requests.
    heads: Arc<Mutex<String>>,
    _directory: tempfile::TempDir,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let certified = rcgen::generate_simple_self_signed(names).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                seen.lock().unwrap().push_str(&head);
                let reply =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                let _written = stream.write_all(reply).await;
                let _ended = stream.shutdown().await;
            }
        });
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        Self {
            address,
            authority: write("ca.pem", &certified.cert.pem()),
            secret: write("secret", &format!("{SECRET}\n")),
            heads,
            _directory: directory,
        }
    }

    /// How many requests there were. Each had the secret.
    pub(crate) fn count_requests(&self) -> usize {
        let with_secret = self.count_requests_with_secret();
        let heads = self.heads.lock().unwrap();
        assert_eq!(with_secret, heads.matches("GET /v1/chat ").count());
        with_secret
    }

    /// How many requests had the secret.
    pub(crate) fn count_requests_with_secret(&self) -> usize {
        let sent = format!("authorization: Bearer {SECRET}\r\n");
        self.heads.lock().unwrap().matches(&sent).count()
    }
}

/// What a command in the sandbox prints.
pub(crate) async fn run(world: &World, id: &str, command: &str) -> String {
    let client = world.client().await;
    let handle = client.connect(&id.parse().unwrap()).await.unwrap();
    let output = handle.shell(command).output().await.unwrap();
    output.stdout_lossy()
}

/// Whether any file below a directory has the secret in it.
pub(crate) fn has_secret(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_secret(&entry.path()),
        Ok(kind) if kind.is_file() => {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            String::from_utf8_lossy(&content).contains(SECRET)
        }
        Ok(_) | Err(_) => false,
    })
}
