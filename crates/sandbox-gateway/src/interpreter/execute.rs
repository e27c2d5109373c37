//! The lines of an execution, as they come.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use sandbox::{ByteStream, Sandbox};
use serde::Deserialize;
use serde_json::json;

use super::lines::{LineError, LineReader};
use crate::app::App;
use crate::connection::ConnectionHandle;
use crate::sandboxes::Found;

/// After this long without a line, one says that the execution still runs.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// How long a sandbox may take to show that it still runs.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
/// The deepest nesting of a line.
const MAX_DEPTH: usize = 120;

/// What passes on the lines of one execution.
pub(super) struct Execution {
    pub(super) app: Arc<App>,
    pub(super) found: Found,
    pub(super) sandbox: Sandbox,
    pub(super) connection: Option<ConnectionHandle>,
    pub(super) lines: LineReader<Box<dyn ByteStream>>,
}

impl Execution {
    /// Returns the body of the response. Dropping it interrupts the execution.
    pub(super) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Some(self), |execution| async {
            let mut execution = execution?;
            let (line, has_ended) = execution.next_line().await?;
            let next = if has_ended { None } else { Some(execution) };
            Some((Ok::<_, std::convert::Infallible>(line), next))
        }))
    }

    /// Returns the next line and whether it is the last one; `None` if the connection is to be cut off.
    async fn next_line(&mut self) -> Option<(Bytes, bool)> {
        let problem = match tokio::time::timeout(KEEPALIVE, self.lines.next()).await {
            Err(_elapsed) => {
                return Some((Bytes::from_static(b"{\"type\":\"keepalive\"}\n"), false));
            }
            Ok(Ok(Some(line))) => match line_type(&line) {
                Ok(kind) => return Some((line, kind == Kind::End)),
                Err(error) => LineError::Syntax(error),
            },
            Ok(Ok(None)) => LineError::Ended,
            Ok(Err(error)) => error,
        };
        if is_gone(&self.app, &self.found, &self.sandbox).await {
            // A clean end would look like one of the execution.
            if let Some(connection) = &self.connection {
                connection.reset();
            }
            return None;
        }
        let why = match problem {
            LineError::Ended => "the interpreter was ended".to_owned(),
            LineError::Io(error) => format!("the connection to the interpreter was lost: {error}"),
            LineError::TooLong => "the interpreter sent a line that is too long".to_owned(),
            LineError::Syntax(error) => format!("the interpreter sent an invalid line: {error}"),
        };
        let error =
            json!({ "type": "error", "name": "InterpreterError", "value": why, "traceback": "" });
        let lines = format!("{error}\n{}\n", json!({ "type": "end_of_execution" }));
        Some((Bytes::from(lines), true))
    }
}

/// Whether the sandbox has ended. Its record may outlive it for a moment, so that it is asked itself.
async fn is_gone(app: &App, found: &Found, sandbox: &Sandbox) -> bool {
    match app.sandboxes.find(&found.info.id).await {
        Ok(now) if now.info.uid == found.info.uid => {}
        Ok(_) | Err(_) => return true,
    }
    let command = sandbox.command("true").timeout(PROBE_TIMEOUT);
    !matches!(
        tokio::time::timeout(PROBE_TIMEOUT, command.status()).await,
        Ok(Ok(_))
    )
}

/// What a line is about. Other lines are not of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Stdout,
    Stderr,
    Result,
    Error,
    NumberOfExecutions,
    #[serde(rename = "end_of_execution")]
    End,
}

/// Checks that a line is one object of JSON of a known type. Clients fail at anything else.
fn line_type(line: &[u8]) -> serde_json::Result<Kind> {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(rename = "type", borrow)]
        kind: Cow<'a, str>,
    }
    // What is skipped by the parser is not decoded by it.
    let text = std::str::from_utf8(line).map_err(serde::de::Error::custom)?;
    let parsed: Line<'_> = serde_json::from_str(text)?;
    if depth(line) > MAX_DEPTH {
        return Err(serde::de::Error::custom("it is nested too deeply"));
    }
    Kind::deserialize(serde::de::value::CowStrDeserializer::new(parsed.kind))
}

/// How deeply valid JSON is nested. Parsers of clients recurse.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut is_text, mut is_escaped) = (false, false);
    for byte in json {
        match byte {
            _any if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !is_text => depth = depth.saturating_sub(1),
            _other => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_of_the_protocol_reach_the_client() {
        let result =
            br#"{"text":"1","extra":{"a":[1,{"b":null}]},"type":"result","is_main_result":true}"#;
        assert_eq!(line_type(result).unwrap(), Kind::Result);
        assert_eq!(
            line_type(b"{\"type\":\"end_of_execution\"}\n").unwrap(),
            Kind::End
        );
        let nested = |levels| {
            let (open, close) = ("[".repeat(levels), "]".repeat(levels));
            format!("{{\"type\":\"result\",\"text\":\"[\\\"[{{\",\"json\":{open}{close}}}")
        };
        assert!(line_type(nested(MAX_DEPTH - 1).as_bytes()).is_ok());
        let deep = nested(MAX_DEPTH);
        assert!(line_type(nested(100_000).as_bytes()).is_err());
        for invalid in [
            "",
            "\n",
            "null",
            "[]",
            "{}",
            "{\"type\":1}",
            "{\"type\":\"keepalive\"",
            "{\"type\":\"reset\"}",
            "{\"type\":\"stdout\",\"type\":\"stdout\"}",
            "{\"type\":\"stdout\"}{\"type\":\"stdout\"}",
            "{\"type\":\"stdout\",\"text\":NaN}",
            &deep,
        ] {
            assert!(line_type(invalid.as_bytes()).is_err(), "{:.40}", invalid);
        }
        assert!(line_type(b"{\"type\":\"stdout\",\"text\":\"\xff\"}").is_err());
    }
}
