//! A server over HTTP for each test, and a client that sends exactly the given bytes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sandbox::ListFilter;
use sandbox_mcp::{BearerToken, McpConfig, McpServer};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::support::{Answer, client_of};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";

pub(crate) struct HttpWorld {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl HttpWorld {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = McpServer::new(client_of(dir.path()).await, McpConfig::default()).unwrap();
        let token = BearerToken::new(TOKEN).unwrap();
        let listener = server
            .listen_http(([127, 0, 0, 1], 0).into(), token)
            .await
            .unwrap();
        let address = listener.local_addr();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(listener.serve(async {
            let _stop = stopped.await;
        }));
        Self {
            dir,
            address,
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        headers: &[(&str, &str)],
        path: &str,
        body: String,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        let default = [
            ("host", self.address.to_string()),
            ("accept", "application/json, text/event-stream".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("authorization", format!("Bearer {TOKEN}")),
        ];
        for (name, value) in &default {
            if !headers.iter().any(|(given, _)| given == name) {
                request = request.header(*name, value);
            }
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .unwrap();
        let driver = tokio::spawn(connection);
        let response = match sender.send_request(request).await {
            Ok(response) => response,
            // The server has refused a body before it was sent to its end.
            Err(error) => return Reply::refused(&error),
        };
        let (parts, body) = response.into_parts();
        let collecting = tokio::time::timeout(Duration::from_secs(60), body.collect());
        let body = collecting.await.unwrap().unwrap().to_bytes();
        driver.abort();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }

    pub(crate) async fn post(&self, headers: &[(&str, &str)], message: Value) -> Reply {
        self.send(Method::POST, headers, "/mcp", message.to_string())
            .await
    }

    /// Begins a session, and returns its id.
    pub(crate) async fn begin(&self) -> String {
        let reply = self.post(&[], initialize()).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
        let session = reply.headers["mcp-session-id"].to_str().unwrap().to_owned();
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let accepted = self.post(&[("mcp-session-id", &session)], done).await;
        assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
        session
    }

    pub(crate) async fn call(&self, session: &str, tool: &str, arguments: Value) -> Answer {
        let message = json!({
            "jsonrpc": "2.0", "id": 7, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        });
        let reply = self.post(&[("mcp-session-id", session)], message).await;
        Answer::from_response(&reply.message())
    }

    pub(crate) async fn count_sandboxes(&self) -> usize {
        let client = client_of(self.dir.path()).await;
        client.list(ListFilter::default()).await.unwrap().len()
    }

    pub(crate) async fn finish(mut self) {
        self.stop.take();
        tokio::time::timeout(Duration::from_secs(60), &mut self.serving)
            .await
            .expect("the server ends in time")
            .unwrap();
        assert_eq!(self.count_sandboxes().await, 0);
    }
}

impl Reply {
    fn refused(error: &hyper::Error) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            headers: HeaderMap::new(),
            body: error.to_string(),
        }
    }

    /// The response among the events.
    pub(crate) fn message(&self) -> Value {
        if let Ok(message) = serde_json::from_str(&self.body) {
            return message;
        }
        let messages = self
            .body
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        messages
            .filter_map(|data| serde_json::from_str::<Value>(data).ok())
            .find(|message| message.get("id").is_some())
            .unwrap_or_else(|| panic!("{self:?}"))
    }
}

pub(crate) fn initialize() -> Value {
    json!({
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    })
}
