//! The events of a process as frames.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::{Stream, stream};
use sandbox::{AttachedProcess, ExitStatus, ProcessEvent, Signal};
use serde::Serialize;
use serde_json::{Value, json};

use crate::connect::{Code, ConnectError, Cut, encode_frame, encode_frame_with};
use crate::envd::call::{Guest, Pause};

/// The most content in one frame.
const MAX_CONTENT: usize = 32 << 10;
const MAX_TERMINAL_CONTENT: usize = 16 << 10;

/// `{"event":{"keepalive":{}}}`.
pub(super) const KEEPALIVE: Event = Event {
    event: Keepalive {
        keepalive: Nothing {},
    },
};

#[derive(Debug, Serialize)]
pub(super) struct Event {
    event: Keepalive,
}

#[derive(Debug, Serialize)]
struct Keepalive {
    keepalive: Nothing,
}

#[derive(Debug, Serialize)]
struct Nothing {}

/// What a client that is attached to a process receives. Dropping it detaches; the process goes on.
pub(super) struct Output {
    guest: Guest,
    process: AttachedProcess,
    pause: Pause,
    /// Frames to send before the next event is waited for.
    ready: VecDeque<Bytes>,
    is_started: bool,
    is_ended: bool,
}

impl Output {
    pub(super) fn new(guest: Guest, process: AttachedProcess) -> Self {
        Self {
            pause: Box::pin(guest.clone().pause()),
            guest,
            process,
            ready: VecDeque::new(),
            is_started: false,
            is_ended: false,
        }
    }

    /// The frames: the start at once, output as it comes, and the end. The next event is taken only when the client has
    /// received the former ones, so a slow client slows the process down, not the gateway.
    pub(super) fn into_frames(self) -> impl Stream<Item = Result<Bytes, Cut>> + Send + 'static {
        stream::unfold(Some(self), |output| async {
            let mut output = output?;
            match output.next_frame().await {
                Ok(frame) => Some((Ok(frame?), Some(output))),
                Err(cut) => Some((Err(cut), None)),
            }
        })
    }

    async fn next_frame(&mut self) -> Result<Option<Bytes>, Cut> {
        if !self.is_started {
            self.is_started = true;
            let started = json!({ "event": { "start": { "pid": self.process.pid() } } });
            return Ok(Some(encode_frame(&started)?));
        }
        loop {
            if let Some(frame) = self.ready.pop_front() {
                return Ok(Some(frame));
            }
            if self.is_ended {
                return Ok(None);
            }
            let event = tokio::select! {
                biased;
                event = self.process.next() => event,
                cut = &mut self.pause => return Err(cut),
            };
            match event {
                Some(Ok(event)) => self.add_event(event)?,
                Some(Err(error)) => return Err(self.guest.cut(error).await),
                None => self.is_ended = true,
            }
        }
    }

    fn add_event(&mut self, event: ProcessEvent) -> Result<(), Cut> {
        match event {
            ProcessEvent::Stdout(content) => self.add_content("stdout", &content, MAX_CONTENT),
            ProcessEvent::Stderr(content) => self.add_content("stderr", &content, MAX_CONTENT),
            ProcessEvent::Terminal(content) => {
                self.add_content("pty", &content, MAX_TERMINAL_CONTENT);
            }
            ProcessEvent::Ended(status) => {
                self.is_ended = true;
                let ended = json!({ "event": { "end": describe_end(status) } });
                self.ready.push_back(encode_frame(&ended)?);
            }
            _unknown => {
                let message =
                    "the sandbox's server reports an event that this gateway does not know";
                return Err(ConnectError::new(Code::Internal, message).into());
            }
        }
        Ok(())
    }

    fn add_content(&mut self, stream: &str, content: &[u8], limit: usize) {
        let before = format!("{{\"event\":{{\"data\":{{\"{stream}\":\"");
        let frames = content
            .chunks(limit)
            .map(|part| encode_frame_with(&before, part, "\"}}}"));
        self.ready.extend(frames);
    }
}

/// `ProcessEvent.EndEvent`, as Go describes the end of a process.
fn describe_end(status: ExitStatus) -> Value {
    match status {
        ExitStatus::Code(0) => {
            json!({ "exitCode": 0, "exited": true, "status": "exit status 0" })
        }
        ExitStatus::Code(code) => {
            let text = format!("exit status {code}");
            json!({ "exitCode": code, "exited": true, "status": text, "error": text })
        }
        ExitStatus::Signal(signal) => {
            let text = format!("signal: {}", describe_signal(&signal));
            json!({ "exitCode": -1, "exited": false, "status": text, "error": text })
        }
    }
}

/// What Go calls a signal.
fn describe_signal(signal: &Signal) -> String {
    let known = match signal.name() {
        "ABRT" => "aborted",
        "ALRM" => "alarm clock",
        "BUS" => "bus error",
        "FPE" => "floating point exception",
        "HUP" => "hangup",
        "ILL" => "illegal instruction",
        "INT" => "interrupt",
        "KILL" => "killed",
        "PIPE" => "broken pipe",
        "QUIT" => "quit",
        "SEGV" => "segmentation fault",
        "TERM" => "terminated",
        "TRAP" => "trace/breakpoint trap",
        "USR1" => "user defined signal 1",
        "USR2" => "user defined signal 2",
        other => return other.to_ascii_lowercase(),
    };
    known.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_described_as_go_does() {
        let cases = [
            (
                ExitStatus::Code(0),
                json!({"exitCode": 0, "exited": true, "status": "exit status 0"}),
            ),
            (
                ExitStatus::Code(3),
                json!({"exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"}),
            ),
            (
                ExitStatus::Signal(Signal::Kill),
                json!({"exitCode": -1, "exited": false, "status": "signal: killed", "error": "signal: killed"}),
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(describe_end(status), expected);
        }
    }

    #[test]
    fn the_keepalive_is_an_event_without_fields() {
        let json = serde_json::to_string(&KEEPALIVE).unwrap();
        assert_eq!(json, r#"{"event":{"keepalive":{}}}"#);
    }
}
