//! A server of its own for each test, and a client that sends exactly the given bytes.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use sandbox::{Client, ListFilter, SandboxInfo, Settings};
use sandbox_mcp::{McpConfig, McpServer};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
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

/// No answer takes longer; those that wait for a job wait for less in tests.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// A client and its server, with sandboxes in a directory of their own.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: Option<WriteHalf<DuplexStream>>,
    /// Answers that arrived while another was waited for.
    early: HashMap<u64, Value>,
    last_id: u64,
}

/// The answer of a tool.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) is_error: bool,
    pub(crate) text: String,
    pub(crate) data: Value,
}

pub(crate) async fn client_of(dir: &std::path::Path) -> Client {
    let mut settings = Settings::default();
    settings.local.state_dir = Some(dir.join("state"));
    Client::from_settings(&settings).await.unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_, _| {}).await
    }

    /// Starts a server whose configuration may name files in the directory, and begins a session.
    pub(crate) async fn start_with(
        configure: impl FnOnce(&mut McpConfig, &std::path::Path),
    ) -> Self {
        let mut world = Self::start_silent(configure).await;
        world.initialize().await;
        world
    }

    async fn initialize(&mut self) {
        let opened = self
            .request(
                "initialize",
                json!({
                    "protocolVersion": "2025-11-25",
                    "capabilities": {},
                    "clientInfo": {"name": "test", "version": "1"},
                }),
            )
            .await;
        assert_eq!(
            opened["result"]["protocolVersion"], "2025-11-25",
            "{opened}"
        );
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await;
    }

    /// Starts a server, and sends nothing.
    pub(crate) async fn start_silent(
        configure: impl FnOnce(&mut McpConfig, &std::path::Path),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = McpConfig::default();
        configure(&mut config, dir.path());
        let client = client_of(dir.path()).await;
        Self::serve(dir, McpServer::new(client, config).unwrap())
    }

    /// Starts a server with a client of its own, and begins a session.
    pub(crate) async fn start_on(client: Client, config: McpConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self::serve(dir, McpServer::new(client, config).unwrap());
        world.initialize().await;
        world
    }

    fn serve(dir: tempfile::TempDir, server: McpServer) -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (far_reader, far_writer) = tokio::io::split(far);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.serve_stdio(far_reader, far_writer, async {
            let _stop = stopped.await;
        }));
        let (reader, writer) = tokio::io::split(near);
        Self {
            dir,
            stop: Some(stop),
            serving,
            reader: BufReader::new(reader),
            writer: Some(writer),
            early: HashMap::new(),
            last_id: 0,
        }
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string()).await;
    }

    pub(crate) async fn send_line(&mut self, line: &str) {
        let writer = self.writer.as_mut().unwrap();
        writer.write_all(line.as_bytes()).await.unwrap();
        writer.write_all(b"\n").await.unwrap();
    }

    /// Sends a request, and returns its id.
    pub(crate) async fn begin(&mut self, method: &str, params: Value) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
            .await;
        id
    }

    /// Waits for the response to a request.
    pub(crate) async fn response(&mut self, id: u64) -> Value {
        if let Some(early) = self.early.remove(&id) {
            return early;
        }
        loop {
            let message = self.next_message().await;
            match message["id"].as_u64() {
                Some(found) if found == id => return message,
                Some(found) => {
                    self.early.insert(found, message);
                }
                None => {}
            }
        }
    }

    pub(crate) async fn next_message(&mut self) -> Value {
        let mut line = String::new();
        let reading = self.reader.read_line(&mut line);
        tokio::time::timeout(ANSWER_TIMEOUT, reading)
            .await
            .expect("an answer in time")
            .unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub(crate) async fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.begin(method, params).await;
        self.response(id).await
    }

    /// Begins to call a tool.
    pub(crate) async fn begin_call(&mut self, tool: &str, arguments: Value) -> u64 {
        self.begin("tools/call", json!({"name": tool, "arguments": arguments}))
            .await
    }

    /// Calls a tool.
    pub(crate) async fn call(&mut self, tool: &str, arguments: Value) -> Answer {
        let id = self.begin_call(tool, arguments).await;
        let response = self.response(id).await;
        Answer::from_response(&response)
    }

    /// Calls a tool that succeeds, and returns its data.
    pub(crate) async fn use_tool(&mut self, tool: &str, arguments: Value) -> Value {
        let answer = self.call(tool, arguments).await;
        assert!(!answer.is_error, "{tool}: {answer:?}");
        answer.data
    }

    /// Calls a tool that fails, and returns its message.
    pub(crate) async fn fail(&mut self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        assert!(answer.is_error, "{tool}: {answer:?}");
        assert_eq!(answer.data, Value::Null);
        answer.text
    }

    /// Runs a command to its end, and returns its output.
    pub(crate) async fn run(&mut self, command: &str) -> String {
        let data = self
            .use_tool("command_run", json!({"command": command}))
            .await;
        assert_eq!(data["exit_code"], 0, "{data}");
        data["output"].as_str().unwrap().to_owned()
    }

    /// The sandboxes that exist, as another program sees them.
    pub(crate) async fn sandboxes(&self) -> Vec<SandboxInfo> {
        let client = client_of(self.dir.path()).await;
        client.list(ListFilter::default()).await.unwrap()
    }

    /// Closes the client's end.
    pub(crate) async fn hang_up(&mut self) {
        let mut writer = self.writer.take().unwrap();
        writer.shutdown().await.unwrap();
    }

    /// Asks the server to stop, as a signal does.
    pub(crate) fn stop(&mut self) {
        self.stop.take();
    }

    /// Waits for the end of the server, after which nothing is left.
    pub(crate) async fn wait_for_end(self) {
        let serving = self.serving;
        tokio::time::timeout(ANSWER_TIMEOUT, serving)
            .await
            .expect("the server ends in time")
            .unwrap();
        let client = client_of(self.dir.path()).await;
        let left = client.list(ListFilter::default()).await.unwrap();
        assert!(left.is_empty(), "{left:?}");
    }

    /// Ends the session as clients do.
    pub(crate) async fn finish(mut self) {
        self.hang_up().await;
        self.wait_for_end().await;
    }

    pub(crate) fn audit_lines(&self) -> Vec<Value> {
        std::fs::read_to_string(self.dir.path().join("audit"))
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Answer {
    pub(crate) fn from_response(response: &Value) -> Self {
        let result = &response["result"];
        assert!(result.is_object(), "{response}");
        Self {
            is_error: result["isError"].as_bool().unwrap_or_default(),
            text: result["content"][0]["text"].as_str().unwrap().to_owned(),
            data: result.get("structuredContent").cloned().unwrap_or_default(),
        }
    }
}
