//! Programs that are run in containers, over WebSockets (`v4.channel.k8s.io`).

use std::pin::Pin;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::request::ParsedRequest;
use super::response::{ApiResponse, Body, ConnectionCut};
use super::server::ApiServer;

/// What a test runs in place of every program.
pub(super) type Program =
    Arc<dyn Fn(Exec) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

const PROTOCOL: &str = "v4.channel.k8s.io";
/// How much is on its way in each direction.
const BUFFER: usize = 256 << 10;

impl ApiServer {
    /// Sets what runs in place of every program in a container that runs. Without it, each ends with exit code 127.
    pub fn set_program<F>(&self, program: impl Fn(Exec) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.lock().program = Some(Arc::new(move |exec| Box::pin(program(exec))));
    }
}

/// A program in a container. If it is dropped, the connection is cut.
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<String>,
    socket: WebSocketStream<DuplexStream>,
    input: BytesMut,
}

impl Exec {
    /// Returns the next line of the input without its end; `None` if the connection has ended.
    pub async fn read_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
                let mut line = self.input.split_to(end + 1);
                line.truncate(end);
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.receive().await?;
        }
    }

    /// Returns this number of bytes of the input; `None` if the connection ends before.
    pub async fn read_exact(&mut self, count: usize) -> Option<Bytes> {
        while self.input.len() < count {
            self.receive().await?;
        }
        Some(self.input.split_to(count).freeze())
    }

    /// Writes to the standard output.
    pub async fn write(&mut self, content: &[u8]) {
        self.send(1, content).await;
    }

    /// Writes to the standard error.
    pub async fn write_error(&mut self, content: &[u8]) {
        self.send(2, content).await;
    }

    /// Ends the program.
    pub async fn exit(mut self, code: i32) {
        let status = match code {
            0 => json!({"metadata": {}, "status": "Success"}),
            code => json!({
                "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": format!("command terminated with non-zero exit code: exit status {code}"),
                "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
            }),
        };
        self.send(3, status.to_string().as_bytes()).await;
        drop(self.socket.close(None).await);
    }

    /// Ends it with the error of a runtime that could not start it.
    pub async fn refuse(mut self, message: &str) {
        let status = json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: error executing command in container: {message}"),
        });
        self.send(3, status.to_string().as_bytes()).await;
        drop(self.socket.close(None).await);
    }

    async fn send(&mut self, channel: u8, content: &[u8]) {
        let mut frame = BytesMut::with_capacity(1 + content.len());
        frame.put_u8(channel);
        frame.put_slice(content);
        // A client that has gone does not read it.
        drop(self.socket.send(Message::Binary(frame.freeze())).await);
    }

    async fn receive(&mut self) -> Option<()> {
        loop {
            match self.socket.next().await?.ok()? {
                Message::Binary(mut frame) if frame.first() == Some(&0) => {
                    frame.advance(1);
                    self.input.extend_from_slice(&frame);
                    return Some(());
                }
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}

impl std::fmt::Debug for Exec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exec")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// Starts a program, as far as its container runs.
pub(super) async fn start(
    server: &ApiServer,
    request: &ParsedRequest,
) -> Result<Response<Body>, ConnectionCut> {
    let refuse = |response: ApiResponse| Ok(response.into_response(server.current_time()));
    let name = request.record.name.as_deref().unwrap_or_default();
    let Some(pod) = server.object("pods", name) else {
        let message = format!("pods \"{name}\" not found");
        return refuse(ApiResponse::failure(404, "NotFound", message));
    };
    let container = request.query.get("container").cloned().unwrap_or_default();
    let is_running = pod["status"]["containerStatuses"]
        .as_array()
        .is_some_and(|all| {
            all.iter().any(|status| {
                status["name"] == container.as_str() && status["state"]["running"].is_object()
            })
        });
    let Some(key) = &request.websocket_key else {
        let message = "Upgrade request required";
        return refuse(ApiResponse::failure(400, "BadRequest", message));
    };
    if !is_running {
        let message = format!("container not found (\"{container}\")");
        return refuse(ApiResponse::failure(500, "InternalError", message));
    }
    let program = server.lock().program.clone();
    let command = request.command.clone();
    let (client, remote) = tokio::io::duplex(BUFFER);
    let accept = derive_accept_key(key.as_bytes());
    tokio::spawn(async move {
        let Some(socket) = accept_upgrade(remote, &accept).await else {
            return;
        };
        let exec = Exec {
            command,
            socket,
            input: BytesMut::new(),
        };
        match program {
            Some(program) => program(exec).await,
            None => exec.exit(127).await,
        }
    });
    connect(client, key).await
}

/// Responds to the request that `connect` sends.
async fn accept_upgrade(
    mut stream: DuplexStream,
    accept: &str,
) -> Option<WebSocketStream<DuplexStream>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n\r\n"
    );
    stream.write_all(response.as_bytes()).await.ok()?;
    Some(WebSocketStream::from_raw_socket(stream, Role::Server, None).await)
}

/// Gets a response whose connection the client under test can use as a WebSocket. Only hyper makes such responses.
async fn connect(stream: DuplexStream, key: &str) -> Result<Response<Body>, ConnectionCut> {
    let request = Request::get("/")
        .header(UPGRADE, "websocket")
        .header(CONNECTION, "Upgrade")
        .header(SEC_WEBSOCKET_KEY, key)
        .header(SEC_WEBSOCKET_VERSION, "13")
        .header(SEC_WEBSOCKET_PROTOCOL, PROTOCOL)
        .body(Empty::<Bytes>::new())
        .map_err(|_| ConnectionCut)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_| ConnectionCut)?;
    tokio::spawn(connection.with_upgrades());
    let response = sender
        .send_request(request)
        .await
        .map_err(|_| ConnectionCut)?;
    Ok(response.map(|body| body.map_err(|_| ConnectionCut).boxed_unsync()))
}
