//! A gateway in front of a cluster whose API server does not respond.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use sandbox::{
    Access, Client, ConnectionStage, Deadline, Defaults, Endpoint, Error, KeyPair, Result, Sandbox,
    SandboxId, SandboxInfo, Session, SessionSource, Uid,
};
use sandbox_core::{MockSandboxBackend, MockSession};
use sandbox_gateway::{Gateway, GatewayConfig, add_key};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions};
use sandbox_testkit::SingleSandboxBackend;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// A cluster, of which the test is the kubelet, and whose sandboxes have a server on every port.
#[derive(Clone)]
struct Cluster {
    server: ApiServer,
}

/// A gateway.
struct World {
    address: SocketAddr,
    key: String,
    client: Client,
    _dir: tempfile::TempDir,
}

/// A response.
#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Cluster {
    fn client(&self) -> Client {
        let mut options = KubernetesOptions::default();
        options.injection = Injection::baked();
        let api = kube::Client::new(self.server.clone(), "boxes");
        let backend = KubernetesBackend::new(api, options);
        let mut defaults = Defaults::default();
        defaults.image = Some("busybox".to_owned());
        Client::with_parts(Arc::new(backend), Arc::new(self.clone()), defaults)
    }

    /// Starts every new Pod, for ever.
    fn start_kubelet(&self) {
        let server = self.server.clone();
        tokio::spawn(async move {
            loop {
                for name in server.object_names() {
                    let Some(name) = name.strip_prefix("pods/") else {
                        continue;
                    };
                    let pod = server.object("pods", name).unwrap_or_default();
                    if pod["status"]["containerStatuses"].is_null() {
                        server.run_pod(name);
                    }
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
    }
}

#[async_trait::async_trait]
impl SessionSource for Cluster {
    async fn session(&self, _: Arc<Access>, _: Deadline) -> Result<Arc<dyn Session>> {
        let mut session = MockSession::new();
        session.expect_open_stream().returning(|_, _| {
            let (near, far) = tokio::io::duplex(64 << 10);
            tokio::spawn(answer(far));
            Ok(Box::new(near))
        });
        Ok(Arc::new(session))
    }

    async fn evict(&self, _: &Uid) {}
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

/// Answers one request, as the server inside a sandbox.
async fn answer(mut stream: DuplexStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream
            .read_buf(&mut request)
            .await
            .is_ok_and(|read| read == 0)
        {
            return;
        }
    }
    let response = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\ninside";
    stream.write_all(response).await.ok();
}

impl World {
    /// Starts a gateway in front of what this client reaches.
    async fn start(client: Client) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let key = add_key(&keys, "ada").unwrap();
        let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), keys);
        // The proof that the network is closed is not what is tried here.
        for template in config.templates.values_mut() {
            template.backend_network = true;
        }
        let gateway = Gateway::bind(config, client.clone()).await.unwrap();
        let address = gateway.local_addr();
        tokio::spawn(gateway.serve(std::future::pending()));
        Self {
            address,
            key,
            client,
            _dir: dir,
        }
    }

    /// Creates a sandbox as the API does, whose ports are public.
    async fn create(&self) -> Sandbox {
        let builder = self.client.sandbox().label("gateway", "e2b");
        let builder = builder
            .annotation("gateway/template", "base")
            .annotation("gateway/owner", "ada");
        builder.create().await.unwrap()
    }

    async fn send(&self, line: &str, headers: &str, body: &str) -> Response {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let (key, length) = (&self.key, body.len());
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n{headers}Content-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).await.unwrap();
        let (head, body) = received.split_once("\r\n\r\n").unwrap();
        Response {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Sends a request to a port of a sandbox.
    async fn visit(&self, id: &SandboxId) -> Response {
        let headers = format!("E2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: 8000\r\n");
        self.send("GET /", &headers, "").await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_outage_of_the_api_server_fails_no_request() {
    let cluster = Cluster {
        server: ApiServer::new("boxes"),
    };
    cluster.start_kubelet();
    let world = World::start(cluster.client()).await;
    let sandbox = world.create().await;
    assert_eq!(world.visit(sandbox.id()).await.status, 200);
    let server = &cluster.server;
    server.set_unreachable(true);
    server.cut_watches();
    for _ in 0..3 {
        let visited = world.visit(sandbox.id()).await;
        assert_eq!((visited.status, visited.body.as_str()), (200, "inside"));
    }
    let alive = world.send("GET /health", "", "").await;
    assert_eq!(alive.status, 200);

    // What is not in memory is asked for until the API server is back.
    let back = async {
        sleep(Duration::from_secs(1)).await;
        server.set_unreachable(false);
    };
    let listing = world.send("GET /v2/sandboxes", "", "");
    let unknown = world.send("GET /sandboxes/none", "", "");
    let (listed, unknown, ()) = tokio::join!(listing, unknown, back);
    let listed: Value = serde_json::from_str(&listed.body).unwrap();
    assert_eq!(listed[0]["sandboxID"], sandbox.id().as_str(), "{listed}");
    assert_eq!(unknown.status, 404, "{unknown:?}");
    sandbox.delete().await.unwrap();
    // Right after an outage, the last description of a sandbox counts for some seconds.
    while world.visit(sandbox.id()).await.status != 502 {
        sleep(Duration::from_millis(100)).await;
    }
}

const REQUESTS: [&str; 8] = [
    "create pods",
    "create secrets",
    "get pods",
    "get secrets",
    "list pods",
    "watch pods",
    "delete pods",
    "delete secrets",
];

/// E2B's SDKs give up after a minute, and would then not see a refusal.
#[tokio::test(start_paused = true)]
async fn a_creation_is_refused_in_time_while_the_api_server_is_away() {
    for fault in [
        Fault::CutBefore,
        Fault::Delay(Duration::from_secs(1_000_000)),
    ] {
        let cluster = Cluster {
            server: ApiServer::new("boxes"),
        };
        let world = World::start(cluster.client()).await;
        // It has responded before, so that the SDK takes it for one that restarts.
        assert_eq!(world.send("GET /v2/sandboxes", "", "").await.status, 200);
        for request in REQUESTS {
            cluster.server.inject_always(request, fault.clone());
        }
        cluster.server.cut_watches();
        for headers in ["", "Idempotency-Key: a-key\r\n"] {
            let begun = Instant::now();
            let refused = world.send("POST /v2/sandboxes", headers, "{}").await;
            assert_eq!(refused.status, 503, "{fault:?} {headers}: {refused:?}");
            assert!(refused.head.contains("\r\nretry-after: 5"), "{refused:?}");
            assert!(refused.body.contains("does not respond"), "{refused:?}");
            assert!(
                begun.elapsed() < Duration::from_secs(15),
                "{:?}",
                begun.elapsed()
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_creation_may_take_long_if_the_api_server_responds() {
    let cluster = Cluster {
        server: ApiServer::new("boxes"),
    };
    let world = World::start(cluster.client()).await;
    let pulling = async {
        sleep(Duration::from_secs(40)).await;
        cluster.start_kubelet();
    };
    let created = world.send("POST /v2/sandboxes", "", "{}");
    let (created, ()) = tokio::join!(created, pulling);
    assert_eq!(created.status, 201, "{created:?}");
}

/// A backend that knows every sandbox, until it is away.
fn failing_backend(is_away: Arc<AtomicBool>) -> MockSandboxBackend {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend.expect_capabilities().returning(Default::default);
    backend.expect_access().returning(|id| Ok(access(id)));
    backend.expect_get().returning(move |id, _| {
        if id.as_str() == "gone" {
            return Err(Error::NotFound { id: id.clone() });
        }
        if is_away.load(Ordering::Relaxed) {
            let message = "the API server does not respond";
            return Err(Error::connection(ConnectionStage::Dial, message, None));
        }
        Ok(info(id))
    });
    backend
}

fn access(id: &SandboxId) -> Access {
    let keys = KeyPair::generate().unwrap();
    Access {
        id: id.clone(),
        uid: Uid::new("uid"),
        user: "sandbox".into(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("mock".into()),
    }
}

fn info(id: &SandboxId) -> SandboxInfo {
    let annotations = [("gateway/template", "base"), ("gateway/owner", "ada")];
    let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    SandboxInfo {
        backend: "mock".into(),
        labels: [text(("gateway", "e2b"))].into(),
        annotations: annotations.map(text).into(),
        created_at: SystemTime::now(),
        ..SingleSandboxBackend::new(&access(id)).info()
    }
}

#[tokio::test]
async fn sandboxes_in_use_are_served_during_a_long_outage() {
    let is_away = Arc::new(AtomicBool::new(false));
    let backend = Arc::new(failing_backend(Arc::clone(&is_away)));
    let sessions = Arc::new(Cluster {
        server: ApiServer::new("boxes"),
    });
    let client = Client::with_parts(backend, sessions, Defaults::default());
    let world = World::start(client).await;
    let (used, unused) = ("used".parse().unwrap(), "unused".parse().unwrap());
    assert_eq!(world.visit(&used).await.status, 200);
    is_away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        let visited = world.visit(&used).await;
        assert_eq!((visited.status, visited.body.as_str()), (200, "inside"));
    }
    // What is not known is not guessed, and what is known to be gone is gone.
    assert_eq!(world.visit(&unused).await.status, 503);
    assert_eq!(world.visit(&"gone".parse().unwrap()).await.status, 502);
    // The API shows nothing that may be out of date.
    let described = world.send("GET /sandboxes/used", "", "").await;
    assert_eq!(described.status, 503, "{described:?}");
}
