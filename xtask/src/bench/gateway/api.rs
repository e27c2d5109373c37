//! A client of the gateway that does what E2B's SDKs do, and no more.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// The gateway, and a key for it.
pub(super) struct Api {
    address: SocketAddr,
    key: String,
}

/// A sandbox that the gateway has created.
#[derive(Clone)]
pub(super) struct Created {
    pub(super) id: String,
    token: String,
}

/// A connection that requests use one after another.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    address: SocketAddr,
}

/// A command that runs, with what has arrived of its events.
pub(super) struct Stream {
    response: Response<Incoming>,
    received: Vec<u8>,
    // Closing the connection ends the request.
    _connection: Option<Connection>,
}

impl Api {
    pub(super) fn new(address: SocketAddr, key: &str) -> Self {
        Self {
            address,
            key: key.to_owned(),
        }
    }

    pub(super) async fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            sender,
            address: self.address,
        })
    }

    pub(super) async fn create(&self, template: &str) -> Result<Created> {
        let body = json!({"templateID": template, "timeout": 600});
        let created = self.control(Method::POST, "/v2/sandboxes", &body).await?;
        let created: Value = serde_json::from_slice(&created)?;
        let text = |name: &str| {
            let value = created[name].as_str().map(ToOwned::to_owned);
            value.with_context(|| format!("no {name} in the answer to a create request"))
        };
        Ok(Created {
            id: text("sandboxID")?,
            token: text("envdAccessToken")?,
        })
    }

    pub(super) async fn kill(&self, sandbox: &Created) -> Result<()> {
        let path = format!("/sandboxes/{}", sandbox.id);
        self.control(Method::DELETE, &path, &Value::Null).await?;
        Ok(())
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Result<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("x-api-key", &self.key)
            .header("content-type", "application/json")
            .body(Full::from(body.to_string()))?;
        let response = self.connect().await?.send(request).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }
}

impl Connection {
    /// Runs a command to its end, and returns its standard output.
    pub(super) async fn run(&mut self, sandbox: &Created, argv: &[&str]) -> Result<Vec<u8>> {
        let mut stream = self.start(sandbox, argv, false).await?;
        let mut output = Vec::new();
        while let Some(event) = stream.next().await? {
            output.extend(stdout(&event)?);
        }
        Ok(output)
    }

    /// Starts a command on a connection of its own.
    pub(super) async fn into_stream(mut self, sandbox: &Created, argv: &[&str]) -> Result<Stream> {
        let mut stream = self.start(sandbox, argv, true).await?;
        stream._connection = Some(self);
        Ok(stream)
    }

    async fn start(&mut self, sandbox: &Created, argv: &[&str], stdin: bool) -> Result<Stream> {
        let [program, arguments @ ..] = argv else {
            bail!("no program");
        };
        let message = json!({"process": {"cmd": program, "args": arguments}, "stdin": stdin});
        let message = message.to_string();
        let mut framed = vec![0];
        framed.extend(u32::try_from(message.len())?.to_be_bytes());
        framed.extend(message.as_bytes());
        let request = self
            .to_sandbox(sandbox, Method::POST, "/process.Process/Start")
            .header("content-type", "application/connect+json")
            .header("connect-protocol-version", "1")
            .body(Full::from(framed))?;
        Ok(Stream {
            response: self.send(request).await?,
            received: Vec::new(),
            _connection: None,
        })
    }

    /// Calls a method that answers with one message.
    pub(super) async fn call(
        &mut self,
        sandbox: &Created,
        method: &str,
        message: &Value,
    ) -> Result<()> {
        let request = self
            .to_sandbox(sandbox, Method::POST, method)
            .header("content-type", "application/json")
            .body(Full::from(message.to_string()))?;
        self.send(request).await?.into_body().collect().await?;
        Ok(())
    }

    pub(super) async fn write(
        &mut self,
        sandbox: &Created,
        path: &str,
        content: Bytes,
    ) -> Result<()> {
        let request = self
            .to_sandbox(sandbox, Method::POST, &format!("/files?path={path}"))
            .header("content-type", "application/octet-stream")
            .body(Full::from(content))?;
        self.send(request).await?.into_body().collect().await?;
        Ok(())
    }

    /// Reads a file, and returns how many bytes it has.
    pub(super) async fn read(&mut self, sandbox: &Created, path: &str) -> Result<usize> {
        let request = self
            .to_sandbox(sandbox, Method::GET, &format!("/files?path={path}"))
            .body(Full::default())?;
        let mut body = self.send(request).await?.into_body();
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            bytes += frame?.data_ref().map_or(0, Bytes::len);
        }
        Ok(bytes)
    }

    fn to_sandbox(&self, sandbox: &Created, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("e2b-sandbox-id", &sandbox.id)
            .header("e2b-sandbox-port", "49983")
            .header("x-access-token", &sandbox.token)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            bail!("the gateway answered {status}: {}", body.escape_ascii());
        }
        Ok(response)
    }
}

impl Stream {
    /// Returns the next event; `None` after the last one.
    pub(super) async fn next(&mut self) -> Result<Option<Value>> {
        const HEAD: usize = 5;
        loop {
            if let Some(head) = self.received.first_chunk::<HEAD>() {
                let [flags, length @ ..] = *head;
                let end = HEAD + usize::try_from(u32::from_be_bytes(length))?;
                if self.received.len() >= end {
                    let message: Value = serde_json::from_slice(&self.received[HEAD..end])?;
                    self.received.drain(..end);
                    if flags & 2 == 0 {
                        return Ok(Some(message));
                    }
                    ensure!(message["error"].is_null(), "the stream failed: {message}");
                    // The connection can be used again once the body has ended.
                    while self.response.body_mut().frame().await.is_some() {}
                    return Ok(None);
                }
            }
            match self.response.body_mut().frame().await {
                Some(frame) => {
                    let frame = frame?;
                    self.received.extend(frame.data_ref().into_iter().flatten());
                }
                None => bail!("the stream was cut off"),
            }
        }
    }

    /// Waits until the process runs, and returns its id.
    pub(super) async fn pid(&mut self) -> Result<u64> {
        let event = self.next().await?.context("no event")?;
        let pid = event["event"]["start"]["pid"].as_u64();
        pid.with_context(|| format!("no pid in the first event: {event}"))
    }

    /// Waits for standard output.
    pub(super) async fn output(&mut self) -> Result<()> {
        loop {
            let event = self.next().await?.context("the process has ended")?;
            if !stdout(&event)?.is_empty() {
                return Ok(());
            }
        }
    }
}

/// The standard output in an event, which the benchmark only sees as short ASCII text.
fn stdout(event: &Value) -> Result<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let Some(text) = event["event"]["data"]["stdout"].as_str() else {
        return Ok(Vec::new());
    };
    let mut decoded = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes().take_while(|byte| *byte != b'=') {
        let value = ALPHABET.iter().position(|symbol| *symbol == byte);
        let value = value.with_context(|| format!("invalid base64: {text}"))?;
        bits = bits << 6 | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push(u8::try_from(bits >> count & 0xff)?);
        }
    }
    Ok(decoded)
}
