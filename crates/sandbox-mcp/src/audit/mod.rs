//! A record of each call, and of each decision about egress: as an event of `tracing`, and as a line of JSON in a file.

mod redact;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use sandbox::{EgressEvent, SandboxId};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::McpError;
use crate::failure::Failure;
use crate::sync::lock;

/// The target of the events.
const TARGET: &str = "sandbox_mcp::audit";

/// Records calls.
pub(crate) struct Audit {
    file: Option<AuditFile>,
}

struct AuditFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

struct FileState {
    file: File,
    /// Lines that could not be written yet.
    unwritten: Vec<u8>,
}

/// What a call was and how it went.
#[derive(Debug, Serialize)]
pub(crate) struct Record<'a> {
    #[serde(serialize_with = "serialize_time")]
    pub(crate) time: SystemTime,
    pub(crate) session: &'a str,
    pub(crate) client: Option<String>,
    pub(crate) tool: String,
    pub(crate) sandbox: Option<String>,
    pub(crate) arguments: Map<String, Value>,
    pub(crate) outcome: Outcome,
    /// The message of a failure, or how a command ended.
    pub(crate) detail: Option<String>,
    #[serde(rename = "duration_ms", serialize_with = "serialize_millis")]
    pub(crate) duration: Duration,
}

/// What was decided about a connection from a sandbox.
#[derive(Debug, Serialize)]
struct DecisionRecord<'a> {
    #[serde(serialize_with = "serialize_time")]
    time: SystemTime,
    session: &'a str,
    sandbox: &'a str,
    egress: Decision<'a>,
}

/// All text in it is bounded and escaped by the proxy.
#[derive(Debug, Serialize)]
struct Decision<'a> {
    outcome: &'static str,
    host: &'a str,
    port: u16,
    address: Option<IpAddr>,
    rule: Option<&'a str>,
    reason: Option<&'a str>,
    sent: u64,
    received: u64,
    /// How many decisions before this one are missing.
    lost: u64,
}

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Ok,
    Failed,
    /// The arguments or the tool are none of this server's.
    Refused,
    /// The client cancelled it or is gone.
    Cancelled,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

impl Audit {
    /// Opens the file to append to, which only its owner may read.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, McpError> {
        let Some(path) = path else {
            return Ok(Self { file: None });
        };
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .map_err(|source| McpError::file("open the audit file", path, source))?;
        Ok(Self {
            file: Some(AuditFile {
                path: path.to_owned(),
                state: Mutex::new(FileState {
                    file,
                    unwritten: Vec::new(),
                }),
            }),
        })
    }

    /// Checks that calls can be recorded: writes what could not be written before.
    ///
    /// # Errors
    ///
    /// If that fails again. A call that cannot be recorded is not made.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.append(b"").map_err(|error| {
            Failure::new(format!(
                "calls cannot be recorded ({error}), so none is made; the operator of this server has to make room for \
                 its audit file"
            ))
        })
    }

    /// Records a call.
    pub(crate) fn write(&self, record: &Record<'_>) {
        tracing::info!(
            target: TARGET,
            session = record.session,
            tool = %record.tool,
            sandbox = record.sandbox.as_deref(),
            arguments = %serde_json::Value::Object(record.arguments.clone()),
            outcome = record.outcome.as_str(),
            detail = record.detail.as_deref(),
            duration_ms = millis(record.duration),
            "call"
        );
        self.append(record);
    }

    /// Records what was decided about a connection from a sandbox. It is an event of `tracing` already.
    pub(crate) fn write_decision(&self, session: &str, sandbox: &SandboxId, event: &EgressEvent) {
        self.append(&DecisionRecord {
            time: event.time,
            session,
            sandbox: sandbox.as_str(),
            egress: Decision {
                outcome: event.outcome.as_str(),
                host: &event.host,
                port: event.port,
                address: event.address,
                rule: event.rule.as_deref(),
                reason: event.reason.as_deref(),
                sent: event.sent,
                received: event.received,
                lost: event.lost,
            },
        });
    }

    fn append(&self, record: &impl Serialize) {
        let Some(file) = &self.file else {
            return;
        };
        let mut line = match serde_json::to_vec(record) {
            Ok(line) => line,
            Err(error) => {
                tracing::error!(target: TARGET, %error, "line not recorded");
                return;
            }
        };
        line.push(b'\n');
        if let Err(error) = file.append(&line) {
            tracing::error!(
                target: TARGET,
                path = %file.path.display(),
                %error,
                "line not recorded yet; no further calls are made"
            );
        }
    }
}

impl AuditFile {
    /// Appends lines, after those that could not be written before.
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.unwritten.extend_from_slice(lines);
        while !state.unwritten.is_empty() {
            let FileState { file, unwritten } = &mut *state;
            match file.write(unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => drop(unwritten.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

pub(crate) use self::redact::{shorten_arguments, shorten_text};

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn serialize_time<S: serde::Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&sandbox::rfc3339(*time))
}

fn serialize_millis<S: serde::Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(millis(*duration))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

    use super::*;

    fn record(arguments: Value) -> Record<'static> {
        let Value::Object(arguments) = arguments else {
            unreachable!("arguments are an object");
        };
        Record {
            time: SystemTime::UNIX_EPOCH,
            session: "abc",
            client: Some("test".into()),
            tool: "file_write".into(),
            sandbox: None,
            arguments: shorten_arguments(&arguments),
            outcome: Outcome::Ok,
            detail: None,
            duration: Duration::from_millis(12),
        }
    }

    #[test]
    fn a_call_is_one_line_without_the_content_of_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let audit = Audit::open(Some(&path)).unwrap();
        audit.check().unwrap();
        audit.write(&record(
            serde_json::json!({"path": "a\nb", "content": "hush-hush"}),
        ));
        audit.write(&record(serde_json::json!({})));
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("hush-hush"));
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[0]["arguments"]["path"], "a\nb");
        assert_eq!(lines[0]["arguments"]["content"], "(9 bytes)");
        assert_eq!(lines[0]["outcome"], "ok");
        assert_eq!(lines[0]["duration_ms"], 12);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn no_call_is_made_while_calls_cannot_be_recorded() {
        // Every write to it fails: full(4).
        let audit = Audit::open(Some(Path::new("/dev/full"))).unwrap();
        audit.check().unwrap();
        audit.write(&record(serde_json::json!({})));
        let failure = audit.check().unwrap_err();
        assert!(failure.message().contains("audit file"), "{failure:?}");
    }
}
