//! A gateway, and a client that speaks to it as E2B's SDKs do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use ring::hmac;
use sandbox::{Defaults, ListFilter};
use sandbox_gateway::GatewayConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

use crate::events::Events;
use crate::exchange::{Answer, Arriving, exchange, send};

#[path = "../support.rs"]
#[allow(dead_code, reason = "the other test programs use the rest")]
mod support;

/// A gateway in front of the local backend.
pub(crate) struct Gateway {
    address: SocketAddr,
    client: sandbox::Client,
    directory: PathBuf,
    serving: AbortHandle,
}

/// What the gateway signs tokens with.
const SIGNING_KEY: [u8; 32] = [7; 32];

/// A sandbox behind the gateway. It is deleted at the end of the tests.
pub(crate) struct Guest {
    pub(crate) id: String,
    pub(crate) token: String,
    pub(crate) sandbox: sandbox::Sandbox,
    address: SocketAddr,
}

impl Gateway {
    pub(crate) async fn start(directory: &Path) -> Self {
        Self::start_with(directory, |_| {}).await
    }

    async fn start_with(directory: &Path, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let client = support::local_client(&directory.join("sandboxes"), Defaults::default());
        let keys = directory.join("keys");
        std::fs::write(&keys, "").unwrap();
        let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap(), keys);
        let signing_key = directory.join("signing");
        std::fs::write(&signing_key, SIGNING_KEY).unwrap();
        config.signing_key_file = Some(signing_key);
        change(&mut config);
        let gateway = sandbox_gateway::Gateway::bind(config, client.clone())
            .await
            .unwrap();
        let address = gateway.local_addr();
        let serving = tokio::spawn(gateway.serve(std::future::pending()));
        Self {
            address,
            client,
            directory: directory.to_owned(),
            serving: serving.abort_handle(),
        }
    }

    /// Starts another gateway for the same sandboxes, with a client of its own.
    pub(crate) async fn start_replica(&self, change: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::start_with(&self.directory, change).await
    }

    /// Ends it at once, with all of its connections.
    pub(crate) fn kill(&self) {
        self.serving.abort();
    }

    /// Creates a sandbox as the gateway does.
    pub(crate) async fn create(&self) -> Guest {
        self.create_with(json!({})).await
    }

    /// Creates a sandbox with this lifecycle.
    pub(crate) async fn create_with(&self, lifecycle: Value) -> Guest {
        let mut builder = self.client.sandbox().label("gateway", "e2b");
        for (key, value) in [("gateway/template", "base"), ("gateway/owner", "tests")] {
            builder = builder.label(key, value).annotation(key, value);
        }
        let builder = builder.annotation("gateway/lifecycle", lifecycle.to_string());
        let sandbox = builder.create().await.unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &SIGNING_KEY);
        let token = hmac::sign(&key, format!("envd\0{}", sandbox.uid()).as_bytes());
        let hex = |byte: &u8| format!("{byte:02x}");
        Guest {
            id: sandbox.id().to_string(),
            token: token.as_ref().iter().map(hex).collect(),
            address: self.address,
            sandbox,
        }
    }

    /// Sends a request with no headers but its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        exchange(self.address, request).await
    }

    pub(crate) async fn delete_all(&self) {
        for info in self.client.list(ListFilter::default()).await.unwrap() {
            self.client.delete_sandbox(&info.id).await.unwrap();
        }
    }
}

impl Guest {
    /// The same sandbox, asked through another gateway.
    pub(crate) fn through(&self, gateway: &Gateway) -> Self {
        Self {
            id: self.id.clone(),
            token: self.token.clone(),
            sandbox: self.sandbox.clone(),
            address: gateway.address,
        }
    }

    /// Begins a request, and returns the response while its body arrives.
    pub(crate) async fn begin(&self, request: Request<Full<Bytes>>) -> Arriving {
        Arriving::new(send(self.address, request).await)
    }

    /// Opens a connection, for what no client would send.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A request to the daemon of the sandbox, with its token.
    pub(crate) fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("e2b-sandbox-id", &self.id)
            .header("e2b-sandbox-port", "49983")
            .header("x-access-token", &self.token)
    }

    /// Sends a request.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        exchange(self.address, request).await
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let request = self.request(Method::GET, path).body(Full::default());
        self.send(request.unwrap()).await
    }

    /// Makes a unary call.
    pub(crate) async fn call(&self, method: &str, message: Value) -> Answer {
        self.call_with(method, message, &[]).await
    }

    /// Makes a unary call with more headers.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        message: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self
            .request(Method::POST, &path_of(method))
            .header("content-type", "application/json")
            .header("connect-protocol-version", "1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::from(message.to_string());
        let answer = self.send(request.body(body).unwrap()).await;
        assert_eq!(answer.header("content-type"), "application/json");
        answer
    }

    /// Makes a unary call that succeeds.
    pub(crate) async fn ok(&self, method: &str, message: Value) -> Value {
        let answer = self.call(method, message).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        answer.json()
    }

    /// Begins a call whose response is a stream.
    pub(crate) async fn stream(&self, method: &str, message: Value) -> Events {
        self.stream_with(method, &[message], &[]).await
    }

    /// Begins a call with these messages and more headers.
    pub(crate) async fn stream_with(
        &self,
        method: &str,
        messages: &[Value],
        headers: &[(&str, &str)],
    ) -> Events {
        let mut body = Vec::new();
        for message in messages {
            let json = message.to_string();
            body.push(0);
            body.extend_from_slice(&u32::try_from(json.len()).unwrap().to_be_bytes());
            body.extend_from_slice(json.as_bytes());
        }
        let mut request = self
            .request(Method::POST, &path_of(method))
            .header("content-type", "application/connect+json")
            .header("connect-protocol-version", "1");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::from(body)).unwrap();
        Events::new(send(self.address, request).await)
    }

    /// Starts `/bin/sh -c` with this script.
    pub(crate) async fn start(&self, script: &str) -> Events {
        self.start_with(script, json!({}), &[]).await
    }

    /// Starts a script with more fields of the request, and more headers.
    pub(crate) async fn start_with(
        &self,
        script: &str,
        more: Value,
        headers: &[(&str, &str)],
    ) -> Events {
        let mut message =
            json!({ "process": { "cmd": "/bin/sh", "args": ["-c", script] }, "stdin": false });
        merge(&mut message, more);
        self.stream_with("process.Process/Start", &[message], headers)
            .await
    }

    /// Runs a script to its end, and returns what it wrote to standard output.
    pub(crate) async fn run(&self, script: &str) -> String {
        self.start(script).await.collect().await.stdout()
    }

    /// Ends the sandbox.
    pub(crate) async fn delete(&self) {
        self.sandbox.delete().await.unwrap();
    }
}

fn path_of(method: &str) -> String {
    format!("/{method}")
}

fn merge(into: &mut Value, more: Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (name, value) in more {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, more) => *into = more,
    }
}
