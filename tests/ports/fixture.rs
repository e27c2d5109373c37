//! A gateway in front of two local sandboxes, of which one has a server, and a client that sends what it is told.

use std::path::Path;
use std::time::Duration;

use sandbox::{Client, Defaults, ExecEvent, Sandbox};
use sandbox_gateway::{Gateway, GatewayConfig, PreviewSigner};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::support::local_client;

const SERVER: &str = include_str!("server.py");
pub(crate) const DOMAIN: &str = "sbx.test";
/// The least time that a silent server has; tests wait for it.
pub(crate) const SILENCE: Duration = Duration::from_secs(5);

pub(crate) struct Fixture {
    pub(crate) client: Client,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) signer: PreviewSigner,
    pub(crate) sandbox: Sandbox,
    pub(crate) other: Sandbox,
    /// Where the server listens in the first sandbox.
    pub(crate) port: u16,
    /// The other sandbox has one, too.
    pub(crate) other_port: u16,
}

impl Fixture {
    pub(crate) async fn start(dir: &Path) -> Outcome<Self> {
        let client = local_client(&dir.join("state"), Defaults::default());
        let key = [7; 32];
        let key_file = dir.join("signing.key");
        std::fs::write(&key_file, key)?;
        let mut config = GatewayConfig::new("127.0.0.1:0".parse()?, dir.join("keys"));
        config.signing_key_file = Some(key_file);
        config.domain = Some(DOMAIN.to_owned());
        config.preview.response_timeout = SILENCE;
        std::fs::write(&config.keys_file, "")?;
        let gateway = Gateway::bind(config, client.clone()).await?;
        let address = gateway.local_addr();
        tokio::spawn(gateway.serve(std::future::pending()));
        let (sandbox, port) = start_server(&client).await?;
        let (other, other_port) = start_server(&client).await?;
        let signer = PreviewSigner::new(&key, &format!("https://{DOMAIN}"))?;
        Ok(Self {
            client,
            address,
            signer,
            sandbox,
            other,
            port,
            other_port,
        })
    }

    /// Creates a sandbox with a server, as the API does with this lifecycle.
    pub(crate) async fn start_server_with(&self, lifecycle: &str) -> Outcome<(Sandbox, u16)> {
        let mut builder = self.client.sandbox().label("gateway", "e2b");
        for (name, value) in [
            ("gateway/template", "base"),
            ("gateway/owner", "test"),
            ("gateway/lifecycle", lifecycle),
        ] {
            builder = builder.annotation(name, value);
        }
        start_server_in(builder.create().await?).await
    }

    /// The host of a port of the first sandbox.
    pub(crate) fn host(&self) -> String {
        format!("{}-{}.{DOMAIN}", self.port, self.sandbox.id())
    }

    /// A token that opens the server's port of the first sandbox.
    pub(crate) fn token(&self) -> String {
        self.token_for(&self.sandbox, self.port, 60)
    }

    pub(crate) fn token_for(&self, sandbox: &Sandbox, port: u16, seconds: u64) -> String {
        let lifetime = Duration::from_secs(seconds);
        let url = self
            .signer
            .sign(sandbox.id(), sandbox.uid(), port, lifetime);
        url.split_once("sandbox-token=").unwrap().1.to_owned()
    }

    /// The header with the cookie that opens the server's port.
    pub(crate) fn cookie(&self) -> String {
        format!("Cookie: __Host-sandbox-preview={}", self.token())
    }

    /// Sends `GET path` to the first sandbox's server, with a cookie that opens its port.
    pub(crate) async fn get(&self, path: &str) -> Outcome<Response> {
        let (host, cookie) = (self.host(), self.cookie());
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\nConnection: close\r\n\r\n");
        self.send(&request).await
    }

    /// Sends bytes as they are, and reads to the end.
    pub(crate) async fn send(&self, request: &str) -> Outcome<Response> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut received = Vec::new();
        let reading = stream.read_to_end(&mut received);
        tokio::time::timeout(Duration::from_secs(20), reading).await??;
        Response::parse(&received)
    }

    /// The paths of the requests that the server has seen, except of this question.
    pub(crate) async fn seen(&self) -> Outcome<Vec<String>> {
        let body = self.get("/count").await?.body;
        let mut seen: Vec<String> = serde_json::from_str(&body)?;
        seen.retain(|path| path != "/count");
        Ok(seen)
    }
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn parse(received: &[u8]) -> Outcome<Self> {
        let text = String::from_utf8_lossy(received);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or("the response has no head")?;
        let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
        Ok(Self {
            status,
            head: head.to_owned(),
            body: body.to_owned(),
        })
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).next()
    }

    pub(crate) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        let lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        let name = name.to_owned();
        lines
            .filter(move |(key, _)| key.eq_ignore_ascii_case(&name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The value of a header that the server has seen, as its answer tells.
pub(crate) fn seen_header<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let pairs = answer["headers"].as_array()?.iter();
    let mut found = pairs.filter(|pair| {
        pair[0]
            .as_str()
            .is_some_and(|key| key.eq_ignore_ascii_case(name))
    });
    let first = found.next()?[1].as_str();
    assert!(found.next().is_none(), "{name} is sent twice");
    first
}

/// Creates a sandbox with a server, and returns the port that it listens on.
pub(crate) async fn start_server(client: &Client) -> Outcome<(Sandbox, u16)> {
    start_server_in(client.sandbox().create().await?).await
}

async fn start_server_in(sandbox: Sandbox) -> Outcome<(Sandbox, u16)> {
    let command = sandbox.command("python3").args(["-c", SERVER]);
    let mut process = command.spawn().await?;
    let mut printed = String::new();
    while !printed.contains('\n') {
        match process.next().await {
            Some(Ok(ExecEvent::Stdout(data))) => printed.push_str(&String::from_utf8_lossy(&data)),
            Some(Ok(ExecEvent::Stderr(data))) => eprint!("{}", String::from_utf8_lossy(&data)),
            other => return Err(format!("the server does not start: {other:?}").into()),
        }
    }
    // It runs as long as its sandbox, so its output is read to the end.
    tokio::spawn(async move { while process.next().await.is_some() {} });
    Ok((sandbox, printed.trim().parse()?))
}
