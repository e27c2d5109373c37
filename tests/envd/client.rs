//! A gateway, and a client that speaks to it as E2B's SDKs do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ring::hmac;
use sandbox::{Defaults, ListFilter};
use sandbox_gateway::GatewayConfig;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

#[path = "../support.rs"]
#[allow(dead_code, reason = "the other test programs use the rest")]
mod support;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

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

/// A whole response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }
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
        let (response, connection) = send(self.address, request).await;
        Arriving {
            body: response.into_body(),
            _connection: connection,
        }
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
        let (response, connection) = send(self.address, request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(
            response.headers()["content-type"],
            "application/connect+json"
        );
        assert_eq!(response.headers()["x-accel-buffering"], "no");
        Events {
            body: response.into_body(),
            received: BytesMut::new(),
            _connection: connection,
        }
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

/// A frame of a stream.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame {
    Message(Value),
    /// The last one.
    End(Value),
}

/// A stream of frames. Dropping it closes the connection.
pub(crate) struct Events {
    body: Incoming,
    received: BytesMut,
    _connection: Connection,
}

/// A body that arrives. Dropping it closes the connection.
pub(crate) struct Arriving {
    body: Incoming,
    _connection: Connection,
}

impl Arriving {
    /// Waits for the next part; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, hyper::Error> {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match frame.expect("a part in time").transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// Closes its connection when it is dropped.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Events {
    /// Waits for the next frame.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.try_next().await.unwrap()
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Frame>, hyper::Error> {
        loop {
            if let Some((flags, length)) =
                self.received.split_first_chunk::<5>().map(|(head, _)| {
                    let [flags, length @ ..] = *head;
                    (flags, u32::from_be_bytes(length) as usize)
                })
                && self.received.len() >= 5 + length
            {
                self.received.advance(5);
                let json = serde_json::from_slice(&self.received.split_to(length)).unwrap();
                return Ok(Some(match flags {
                    0 => Frame::Message(json),
                    2 => Frame::End(json),
                    other => panic!("flags {other}"),
                }));
            }
            let more = tokio::time::timeout(PATIENCE, self.body.frame()).await;
            match more.expect("a frame in time") {
                None => {
                    assert!(self.received.is_empty(), "{:?}", self.received);
                    return Ok(None);
                }
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.received.extend_from_slice(&data);
                    }
                }
            }
        }
    }

    /// Waits for the next message.
    pub(crate) async fn message(&mut self) -> Value {
        match self.next().await {
            Some(Frame::Message(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for the start of a process, and returns its pid.
    pub(crate) async fn pid(&mut self) -> u64 {
        let message = self.message().await;
        message["event"]["start"]["pid"]
            .as_u64()
            .unwrap_or_else(|| panic!("{message}"))
    }

    /// Waits until what was written contains this.
    pub(crate) async fn wait_for(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            let message = self.message().await;
            let data = &message["event"]["data"];
            for stream in ["stdout", "stderr", "pty"] {
                if let Some(encoded) = data[stream].as_str() {
                    all.push_str(&String::from_utf8_lossy(&decode(encoded)));
                }
            }
        }
        all
    }

    /// Waits for the end of the stream.
    pub(crate) async fn collect(mut self) -> Collected {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Some(Frame::Message(message)) => messages.push(message),
                Some(Frame::End(end)) => {
                    assert_eq!(self.next().await, None, "nothing follows the end");
                    return Collected { messages, end };
                }
                None => panic!("the stream has no end: {messages:?}"),
            }
        }
    }
}

/// All of a stream.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) messages: Vec<Value>,
    pub(crate) end: Value,
}

impl Collected {
    pub(crate) fn stdout(&self) -> String {
        self.text("stdout")
    }

    pub(crate) fn text(&self, stream: &str) -> String {
        String::from_utf8(self.data(stream)).unwrap()
    }

    pub(crate) fn data(&self, stream: &str) -> Vec<u8> {
        self.messages
            .iter()
            .filter_map(|message| message["event"]["data"][stream].as_str())
            .flat_map(decode)
            .collect()
    }

    /// How the process ended.
    pub(crate) fn process_end(&self) -> &Value {
        let end = &self.messages.last().unwrap()["event"]["end"];
        assert!(end.is_object(), "{self:?}");
        end
    }

    /// The code of the error that ended the stream.
    pub(crate) fn code(&self) -> &str {
        self.end["error"]["code"].as_str().unwrap_or("")
    }
}

pub(crate) fn encode(content: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(content)
}

fn decode(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap()
}

async fn send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> (Response<Incoming>, Connection) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let host = http::HeaderValue::try_from(address.to_string()).unwrap();
    request
        .headers_mut()
        .entry(http::header::HOST)
        .or_insert(host);
    let response = tokio::time::timeout(PATIENCE, sender.send_request(request)).await;
    (response.expect("a response in time").unwrap(), connection)
}

async fn exchange(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let (response, _connection) = send(address, request).await;
    let (head, body) = response.into_parts();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}

/// Polls until this is true.
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !is_true().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
