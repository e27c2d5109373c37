//! A gateway of its own for each test, and a client that sends exactly the given bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sandbox::{Client, Settings};
use sandbox_gateway::{ConfigOverrides, Gateway, GatewayConfig, add_key};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A test, and its name.
pub(crate) type Case = (
    &'static str,
    fn() -> Pin<Box<dyn Future<Output = ()> + Send>>,
);

/// Lists the tests of a module.
#[macro_export]
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) fn cases() -> Vec<$crate::support::Case> {
            vec![$((concat!(module_path!(), "::", stringify!($name)), || Box::pin($name()))),+]
        }
    };
}

/// A gateway with keys of two names, and sandboxes in a directory of its own.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    /// Where Prometheus asks, if that is set.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) key: String,
    pub(crate) other_key: String,
    dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with("").await
    }

    /// Starts a gateway with more settings, as in its file.
    pub(crate) async fn start_with(yaml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let (key, other_key) = (
            add_key(&keys, "ada").unwrap(),
            add_key(&keys, "bob").unwrap(),
        );
        let mut world = Self {
            address: ([127, 0, 0, 1], 0).into(),
            metrics: None,
            key,
            other_key,
            dir,
            stop: None,
            serving: None,
        };
        world.add_replica(yaml).await;
        world
    }

    /// Starts a gateway, and sends what follows to it. Former ones go on.
    pub(crate) async fn add_replica(&mut self, yaml: &str) {
        let file = self.dir.path().join("gateway.yaml");
        std::fs::write(&file, yaml).unwrap();
        let mut overrides = ConfigOverrides::default();
        overrides.keys_file = Some(self.keys_file());
        overrides.listen = Some(([127, 0, 0, 1], 0).into());
        let config = GatewayConfig::load(Some(&file), overrides).unwrap();
        let gateway = Gateway::bind(config, self.client().await).await.unwrap();
        self.address = gateway.local_addr();
        self.metrics = gateway.metrics_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(gateway.serve(async {
            let _stop = stopped.await;
        }));
        if let Some(former) = self.stop.replace(stop) {
            // It would stop when its sender is dropped.
            std::mem::forget(former);
        }
        self.serving = Some(serving);
    }

    /// Asks the gateway to stop.
    pub(crate) fn stop(&mut self) -> JoinHandle<()> {
        self.stop.take();
        self.serving.take().unwrap()
    }

    /// A client of the same sandboxes, as another program has it.
    pub(crate) async fn client(&self) -> Client {
        let mut settings = Settings::default();
        settings.local.state_dir = Some(self.state_dir());
        Client::from_settings(&settings).await.unwrap()
    }

    /// Where the sandboxes' files are.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub(crate) fn keys_file(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Sends a request with the first key.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<Value>) -> Reply {
        self.send_as(&self.key, method, path, body).await
    }

    pub(crate) async fn send_as(
        &self,
        key: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        self.send_with(&[("x-api-key", key)], method, path, body)
            .await
    }

    /// Sends a request with these headers.
    pub(crate) async fn send_with(
        &self,
        headers: &[(&str, &str)],
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.exchange(request.body(Full::new(Bytes::from(body))).unwrap())
            .await
            .unwrap()
    }

    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> hyper::Result<Reply> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        driver.abort();
        Ok(Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        })
    }

    /// Creates a sandbox of the first key, and returns its id.
    pub(crate) async fn create(&self, body: Value) -> String {
        let reply = self.send(Method::POST, "/v2/sandboxes", Some(body)).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        reply.json()["sandboxID"].as_str().unwrap().to_owned()
    }

    /// Whether a sandbox exists for the first key.
    pub(crate) async fn exists(&self, id: &str) -> bool {
        self.send(Method::GET, &format!("/sandboxes/{id}"), None)
            .await
            .status
            == StatusCode::OK
    }

    pub(crate) async fn wait_until_gone(&self, id: &str) {
        for _ in 0..200 {
            if !self.exists(id).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} still exists");
    }

    /// Deletes every sandbox. Call it at the end of a test.
    pub(crate) async fn clean_up(&self) {
        let client = self.client().await;
        for info in client.list(sandbox::ListFilter::default()).await.unwrap() {
            client.delete_sandbox(&info.id).await.unwrap();
        }
    }
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that this is an error as E2B's SDKs can read it, and returns its message.
    #[track_caller]
    pub(crate) fn error(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        let body = self.json();
        assert_eq!(body["code"], status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        body["message"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
