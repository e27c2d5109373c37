//! The interpreter's server inside a sandbox: brought there when it is first needed, then reached by its socket.
//!
//! It is a few files of Python (`driver/`), and belongs to the sandbox: any gateway may use it, and it outlives all of
//! them. What it sends is untrusted, as everything is that comes from a sandbox.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use ring::digest;
use sandbox::{ByteStream, ConnectionStage, Refusal, RefusalCode, Sandbox};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::lines::{LineError, LineReader};
use crate::sandboxes::record::Record;

/// The version of what gateway and server say to each other. A server of another version has another socket.
const PROTOCOL: u32 = 1;
/// Where the server listens, below the home directory, if that can be.
const SOCKET: &str = ".sandbox/interpreter/1.sock";
/// How long the server may take to start, in a sandbox that is busy.
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the server may take to answer: a kernel may have to start first.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

const BOOT: &str = include_str!("driver/boot.py");
const FILES: &[(&str, &str)] = &[
    ("__init__.py", include_str!("driver/__init__.py")),
    ("bash_kernel.py", include_str!("driver/bash_kernel.py")),
    ("charts.py", include_str!("driver/charts.py")),
    ("context.py", include_str!("driver/context.py")),
    ("display.py", include_str!("driver/display.py")),
    ("figures.py", include_str!("driver/figures.py")),
    (
        "jupyter_kernel.py",
        include_str!("driver/jupyter_kernel.py"),
    ),
    (
        "kernel_process.py",
        include_str!("driver/kernel_process.py"),
    ),
    ("link.py", include_str!("driver/link.py")),
    ("magics.py", include_str!("driver/magics.py")),
    ("python_kernel.py", include_str!("driver/python_kernel.py")),
    ("results.py", include_str!("driver/results.py")),
    ("server.py", include_str!("driver/server.py")),
    ("wire.py", include_str!("driver/wire.py")),
];

/// What the boot script gets: all files, under a version that their content decides.
static PACKAGE: LazyLock<String> = LazyLock::new(|| {
    let mut content = digest::Context::new(&digest::SHA256);
    for (name, source) in FILES {
        content.update(name.as_bytes());
        content.update(&[0]);
        content.update(source.as_bytes());
        content.update(&[0]);
    }
    let mut version = String::new();
    for byte in &content.finish().as_ref()[..8] {
        // Writing to a string cannot fail.
        write!(version, "{byte:02x}").unwrap_or_default();
    }
    let files: serde_json::Map<String, Value> = FILES
        .iter()
        .map(|(name, source)| ((*name).to_owned(), json!(source)))
        .collect();
    json!({ "protocol": PROTOCOL, "version": version, "files": files }).to_string()
});

/// Why the interpreter gave no answer.
#[derive(Debug)]
pub(super) enum DriverError {
    /// The sandbox has ended, or cannot be reached.
    Sandbox(sandbox::Error),
    /// It cannot run as this user.
    User(Refusal),
    /// The sandbox's server cannot do what is needed.
    Unsupported(String),
    /// The image has no Python that could run it.
    NoPython,
    /// It does not start.
    NotStarted(String),
    /// It does not answer.
    Timeout,
    /// What it sends is no answer.
    Invalid(LineError),
}

impl From<sandbox::Error> for DriverError {
    fn from(error: sandbox::Error) -> Self {
        match error {
            sandbox::Error::Refused(refusal) => Self::User(*refusal),
            sandbox::Error::Unsupported(error) => Self::Unsupported(error.to_string()),
            error => Self::Sandbox(error),
        }
    }
}

/// Sends a request to the interpreter of a user, which is started if it does not run yet; `None` is the user of the
/// sandbox's server. Returns the first line of the answer, and what follows it. Dropping that tells the interpreter that its
/// client has gone.
pub(super) async fn request(
    sandbox: &Sandbox,
    user: Option<&str>,
    request: &Value,
) -> Result<(Value, LineReader<Box<dyn ByteStream>>), DriverError> {
    let mut stream = connect(sandbox, user).await?;
    let answering = async {
        let line = format!("{request}\n");
        let sent = match stream.write_all(line.as_bytes()).await {
            Ok(()) => stream.flush().await,
            Err(error) => Err(error),
        };
        // A server that refuses early may have closed its side already, and its answer says why.
        if let Err(error) = sent {
            tracing::debug!(%error, "request to the interpreter not sent whole");
        }
        let mut lines = LineReader::new(stream);
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) => return Err(DriverError::Invalid(LineError::Ended)),
            Err(error) => return Err(DriverError::Invalid(error)),
        };
        let first = serde_json::from_slice(&line)
            .map_err(|error| DriverError::Invalid(LineError::Syntax(error)))?;
        Ok((first, lines))
    };
    match tokio::time::timeout(ANSWER_TIMEOUT, answering).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(DriverError::Timeout),
    }
}

async fn connect(
    sandbox: &Sandbox,
    user: Option<&str>,
) -> Result<Box<dyn ByteStream>, DriverError> {
    if let Some(socket) = usual_socket(sandbox, user).await? {
        match sandbox.open_unix_socket(&socket).await {
            // Nothing listens there.
            Err(sandbox::Error::Connection(error)) if error.stage == ConnectionStage::Channel => {}
            opened => return Ok(opened?),
        }
    }
    let socket = start(sandbox, user).await?;
    match (sandbox.open_unix_socket(&socket).await, user) {
        (Err(sandbox::Error::Connection(error)), Some(user))
            if error.stage == ConnectionStage::Channel =>
        {
            Err(DriverError::NotStarted(format!(
                "the sandbox's server cannot connect to it as it belongs to the user {user:?} ({error}); \
                 let the server have the capability DAC_OVERRIDE"
            )))
        }
        (opened, _) => Ok(opened?),
    }
}

/// Where the server of a user listens, if that can be: below the user's home directory, which may not exist.
async fn usual_socket(
    sandbox: &Sandbox,
    user: Option<&str>,
) -> Result<Option<String>, DriverError> {
    let Some(user) = user else {
        return Ok(Some(SOCKET.to_owned()));
    };
    match sandbox.guest_files().as_user(user).stat(".").await {
        Ok(home) => Ok(home
            .path
            .to_str()
            .map(|home| format!("{}/{SOCKET}", home.trim_end_matches('/')))),
        Err(sandbox::Error::Refused(refusal)) if refusal.code == RefusalCode::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Starts the server of a user unless it runs; returns where it listens.
async fn start(sandbox: &Sandbox, user: Option<&str>) -> Result<String, DriverError> {
    let template = Record::of(sandbox.info()).map(|record| record.template);
    let mut command = sandbox.command("python3");
    if let Some(user) = user {
        command = command.user(user);
    }
    let command = command
        // As every command has them that is started by E2B's API.
        .env("E2B_SANDBOX", "true")
        .env("E2B_SANDBOX_ID", sandbox.id().as_str())
        .env("E2B_TEMPLATE_ID", template.unwrap_or_default())
        .args(["-I", "-S", "-c", BOOT])
        .stdin(PACKAGE.as_bytes())
        .output_cap(64 * 1024)
        .timeout(START_TIMEOUT);
    let output = command.output().await?;
    if !output.status.success() {
        // As shells report a program that they do not find.
        if output.status.code() == Some(127) {
            return Err(DriverError::NoPython);
        }
        let message = output.stderr_lossy();
        return Err(DriverError::NotStarted(last_line(&message).to_owned()));
    }
    let socket = serde_json::from_slice::<Value>(&output.stdout)
        .ok()
        .and_then(|answer| Some(answer.get("socket")?.as_str()?.to_owned()));
    socket.ok_or_else(|| DriverError::NotStarted("it does not say where it listens".to_owned()))
}

/// The last line that says something, of at most 500 characters: of an error in Python, that is the error itself.
fn last_line(text: &str) -> &str {
    let line = text.trim().lines().next_back().unwrap_or_default();
    let end = line
        .char_indices()
        .nth(500)
        .map_or(line.len(), |(at, _)| at);
    &line[..end]
}
