//! Messages of the service.

use std::collections::BTreeMap;

use bytes::Bytes;
use sandbox::SharedProcess;
use serde::{Deserialize, Deserializer, Serialize};

use super::start::is_own_variable;
use crate::connect::json::{self, enumeration, optional_uint32, or_default, uint32};
use crate::envd::filesystem::entry::text;

/// `StartRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct StartRequest {
    pub(super) process: Option<ProcessConfig>,
    pub(super) pty: Option<Pty>,
    pub(super) tag: Option<String>,
    pub(super) stdin: Option<bool>,
}

/// `ProcessConfig`.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessConfig {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) cmd: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) args: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) envs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cwd: Option<String>,
}

/// `PTY`.
#[derive(Debug, Deserialize)]
pub(super) struct Pty {
    pub(super) size: Option<Size>,
}

/// `PTY.Size`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Size {
    #[serde(default, deserialize_with = "uint32")]
    pub(super) cols: u32,
    #[serde(default, deserialize_with = "uint32")]
    pub(super) rows: u32,
}

/// `ProcessSelector`.
#[derive(Debug, Deserialize)]
pub(super) struct Selector {
    #[serde(default, deserialize_with = "optional_uint32")]
    pub(super) pid: Option<u32>,
    pub(super) tag: Option<String>,
}

/// `ConnectRequest` and `CloseStdinRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct Selected {
    pub(super) process: Option<Selector>,
}

/// `UpdateRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct ResizeRequest {
    pub(super) process: Option<Selector>,
    pub(super) pty: Option<Pty>,
}

/// `SendInputRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct InputRequest {
    pub(super) process: Option<Selector>,
    pub(super) input: Option<Input>,
}

/// `ProcessInput`.
#[derive(Debug, Deserialize)]
pub(super) struct Input {
    #[serde(default, deserialize_with = "json::bytes::deserialize")]
    pub(super) stdin: Option<Bytes>,
    #[serde(default, deserialize_with = "json::bytes::deserialize")]
    pub(super) pty: Option<Bytes>,
}

/// `StreamInputRequest`. If it has neither, it is a keepalive.
#[derive(Debug, Deserialize)]
pub(super) struct StreamedInput {
    pub(super) start: Option<Selected>,
    pub(super) data: Option<StreamedData>,
}

/// `StreamInputRequest.DataEvent`.
#[derive(Debug, Deserialize)]
pub(super) struct StreamedData {
    pub(super) input: Option<Input>,
}

/// `SendSignalRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct SignalRequest {
    pub(super) process: Option<Selector>,
    #[serde(default, deserialize_with = "signal")]
    pub(super) signal: Option<SignalKind>,
}

/// `Signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalKind {
    Terminate,
    Kill,
}

fn signal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SignalKind>, D::Error> {
    let values = [
        ("SIGNAL_UNSPECIFIED", 0, None),
        ("SIGNAL_SIGTERM", 15, Some(SignalKind::Terminate)),
        ("SIGNAL_SIGKILL", 9, Some(SignalKind::Kill)),
    ];
    enumeration(deserializer, &values).map(Option::flatten)
}

/// `ListResponse`.
#[derive(Debug, Serialize)]
pub(super) struct Processes {
    processes: Vec<ProcessInfo>,
}

/// `ProcessInfo`.
#[derive(Debug, Serialize)]
struct ProcessInfo {
    config: ProcessConfig,
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

impl Processes {
    pub(super) fn of(listed: &[SharedProcess]) -> Self {
        Self {
            processes: listed.iter().map(ProcessInfo::of).collect(),
        }
    }
}

impl ProcessInfo {
    /// Describes a process as it was requested.
    fn of(process: &SharedProcess) -> Self {
        let spec = &process.spec;
        let mut argv = spec.argv.iter().map(text);
        let variables = spec
            .env
            .iter()
            .map(|(name, value)| (text(name), text(value)));
        Self {
            config: ProcessConfig {
                cmd: argv.next().unwrap_or_default(),
                args: argv.collect(),
                envs: variables
                    .filter(|(name, _)| !is_own_variable(name))
                    .collect(),
                cwd: spec.directory.as_ref().map(text),
            },
            pid: process.pid,
            tag: spec.tag.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn requests_of_the_sdks_are_understood() {
        let command: StartRequest = serde_json::from_str(
            r#"{"process":{"cmd":"/bin/bash","args":["-l","-c","ls"],"envs":{"A":"1"},"cwd":"/tmp"},"stdin":false}"#,
        )
        .unwrap();
        let process = command.process.unwrap();
        assert_eq!(process.args, ["-l", "-c", "ls"]);
        assert_eq!(process.envs["A"], "1");
        assert_eq!(command.stdin, Some(false));
        let terminal: StartRequest = serde_json::from_str(
            r#"{"process":{"cmd":"/bin/bash","args":["-i","-l"]},"pty":{"size":{"cols":80,"rows":24}}}"#,
        )
        .unwrap();
        let size = terminal.pty.unwrap().size.unwrap();
        assert_eq!((size.cols, size.rows, terminal.stdin), (80, 24, None));
        let input: InputRequest =
            serde_json::from_str(r#"{"process":{"pid":7},"input":{"stdin":"aGk="}}"#).unwrap();
        assert_eq!(input.process.unwrap().pid, Some(7));
        assert_eq!(input.input.unwrap().stdin.unwrap(), "hi");
        for body in [
            r#"{"process":{"pid":7},"signal":"SIGNAL_SIGKILL"}"#,
            r#"{"process":{"pid":"7"},"signal":9}"#,
        ] {
            let request: SignalRequest = serde_json::from_str(body).unwrap();
            assert_eq!(request.signal, Some(SignalKind::Kill));
        }
        let absent: SignalRequest = serde_json::from_str(r#"{"process":{"tag":"t"}}"#).unwrap();
        assert_eq!(absent.signal, None);
        assert!(serde_json::from_str::<SignalRequest>(r#"{"signal":"SIGNAL_SIGINT"}"#).is_err());
        let streamed: StreamedInput =
            serde_json::from_str(r#"{"start":{"process":{"pid":7}}}"#).unwrap();
        assert!(streamed.start.is_some() && streamed.data.is_none());
        let streamed: StreamedInput =
            serde_json::from_str(r#"{"data":{"input":{"pty":"AA=="}}}"#).unwrap();
        assert_eq!(streamed.data.unwrap().input.unwrap().pty.unwrap(), "\0");
        let keepalive: StreamedInput = serde_json::from_str(r#"{"keepalive":{}}"#).unwrap();
        assert!(keepalive.start.is_none() && keepalive.data.is_none());
    }

    #[test]
    fn processes_are_listed_as_they_were_requested() {
        let listed: SharedProcess = serde_json::from_value(json!({
            "pid": 12,
            "spec": {
                "argv": ["/bin/bash", "-l", "-c", "sleep 9"], "directory": "/tmp", "tag": "t",
                "env": [["E2B_SANDBOX", "true"], ["A", "1"]],
            },
        }))
        .unwrap();
        assert_eq!(
            serde_json::to_value(Processes::of(&[listed])).unwrap(),
            json!({"processes": [{
                "config": {
                    "cmd": "/bin/bash", "args": ["-l", "-c", "sleep 9"], "envs": {"A": "1"}, "cwd": "/tmp",
                },
                "pid": 12,
                "tag": "t",
            }]})
        );
    }
}
