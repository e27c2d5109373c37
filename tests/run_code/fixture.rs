//! Replicas of a gateway, and a client of theirs.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use sandbox::{Client, Defaults, Sandbox};
use sandbox_gateway::{Gateway, GatewayConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;
use crate::support::local_client;

const KEY: [u8; 32] = [7; 32];

/// Replicas of a gateway, and a client that creates sandboxes as the API does.
pub(crate) struct Fixture {
    pub(crate) client: Client,
    config: GatewayConfig,
    replicas: Vec<SocketAddr>,
}

impl Fixture {
    pub(crate) async fn start(dir: &Path) -> Outcome<Self> {
        let client = local_client(&dir.join("state"), Defaults::default());
        let key_file = dir.join("signing.key");
        std::fs::write(&key_file, KEY)?;
        let mut config = GatewayConfig::new("127.0.0.1:0".parse()?, dir.join("keys"));
        config.signing_key_file = Some(key_file);
        std::fs::write(&config.keys_file, "")?;
        Self::start_replicas(client, config, 2).await
    }

    /// Starts another replica, whose templates have this user.
    pub(crate) async fn start_for_user(&self, user: &str) -> Outcome<Self> {
        let mut config = self.config.clone();
        for template in config.templates.values_mut() {
            template.user = Some(user.to_owned());
        }
        Self::start_replicas(self.client.clone(), config, 1).await
    }

    async fn start_replicas(client: Client, config: GatewayConfig, count: usize) -> Outcome<Self> {
        let mut replicas = Vec::new();
        for _ in 0..count {
            let gateway = Gateway::bind(config.clone(), client.clone()).await?;
            replicas.push(gateway.local_addr());
            tokio::spawn(gateway.serve(std::future::pending()));
        }
        Ok(Self {
            client,
            config,
            replicas,
        })
    }

    /// Describes a sandbox as the API does.
    pub(crate) fn builder(&self) -> sandbox::SandboxBuilder {
        self.client
            .sandbox()
            .label("gateway", "e2b")
            .label("gateway/template", "base")
            .label("gateway/owner", "test")
            .annotation("gateway/template", "base")
            .annotation("gateway/owner", "test")
    }

    pub(crate) async fn create(&self) -> Outcome<Sandbox> {
        Ok(self.builder().create().await?)
    }

    /// Sends a request with the sandbox's token; returns the status and the body.
    pub(crate) async fn request(
        &self,
        replica: usize,
        sandbox: &Sandbox,
        line: &str,
        body: &Value,
    ) -> Outcome<(u16, String)> {
        let token = format!("X-Access-Token: {}\r\n", token(sandbox));
        self.send(replica, sandbox, line, &token, &body.to_string())
            .await
    }

    pub(crate) async fn send(
        &self,
        replica: usize,
        sandbox: &Sandbox,
        line: &str,
        headers: &str,
        body: &str,
    ) -> Outcome<(u16, String)> {
        let mut stream = self.open(replica, sandbox, line, headers, body).await?;
        let mut received = Vec::new();
        let reading = stream.read_to_end(&mut received);
        tokio::time::timeout(Duration::from_secs(60), reading).await??;
        parse(&received)
    }

    pub(crate) async fn open(
        &self,
        replica: usize,
        sandbox: &Sandbox,
        line: &str,
        headers: &str,
        body: &str,
    ) -> Outcome<TcpStream> {
        let mut stream = TcpStream::connect(self.replicas[replica]).await?;
        let id = sandbox.id();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nE2b-Sandbox-Id: {id}\r\nE2b-Sandbox-Port: 49999\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        Ok(stream)
    }

    /// Runs code; returns what the client gets, without timestamps.
    pub(crate) async fn run(
        &self,
        replica: usize,
        sandbox: &Sandbox,
        request: Value,
    ) -> Outcome<Vec<Value>> {
        let (status, body) = self
            .request(replica, sandbox, "POST /execute", &request)
            .await?;
        assert_eq!(status, 200, "{body}");
        let lines = body.lines().map(|line| {
            let mut line: Value =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:.200}"));
            line.as_object_mut().unwrap().remove("timestamp");
            line
        });
        Ok(lines.filter(|line| line["type"] != "keepalive").collect())
    }
}

/// The token that the API returns for a sandbox: `envdAccessToken`.
pub(crate) fn token(sandbox: &Sandbox) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &KEY);
    let tag = ring::hmac::sign(&key, format!("envd\0{}", sandbox.uid()).as_bytes());
    tag.as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Splits a response, and joins the chunks of its body. A body that is cut off is an error.
pub(crate) fn parse(received: &[u8]) -> Outcome<(u16, String)> {
    let text = String::from_utf8(received.to_vec())?;
    let (head, mut rest) = text
        .split_once("\r\n\r\n")
        .ok_or("the response has no head")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    if !head.to_lowercase().contains("transfer-encoding: chunked") {
        return Ok((status, rest.to_owned()));
    }
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n").ok_or("cut off")?;
        let size = usize::from_str_radix(size, 16)?;
        body.push_str(after.get(..size).ok_or("cut off")?);
        rest = after.get(size + 2..).ok_or("cut off")?;
        if size == 0 {
            return Ok((status, body));
        }
    }
}
