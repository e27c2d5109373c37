//! A program in a container, run through the API server: one WebSocket, whose frames start with the number of a
//! channel: 0 standard input, 1 standard output, 2 standard error, 3 the result as a `Status` object (protocol
//! `v4.channel.k8s.io`).
//!
//! Before Kubernetes 1.30 (`v5`) the end of the input cannot be sent, so the program has to know from the input itself
//! where it ends.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::refusal::OpenError;
use super::websocket::{self, BoxSocket, Socket};
use crate::api::client::ApiClient;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESULT: u8 = 3;

/// The largest frame that is sent.
const FRAME: usize = 64 << 10;
/// How long one frame may take to be accepted.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the program's standard error is kept.
const MAX_STDERR: usize = 2 << 10;
/// The longest line that is accepted from the program.
const MAX_LINE: usize = 1 << 10;

/// Starts a program in the sandbox's container.
pub(super) async fn start(
    api: &ApiClient,
    name: &str,
    command: &[&str],
) -> Result<(Input<BoxSocket>, Output<BoxSocket>), OpenError> {
    let request = api.exec_request(name, command).map_err(OpenError::Final)?;
    let opened = websocket::open(api, request).await;
    let socket = opened.map_err(|refusal| refusal.judge(api, "pods/exec"))?;
    Ok(split(socket))
}

pub(super) fn split<S: Socket>(socket: S) -> (Input<S>, Output<S>) {
    let (sink, frames) = socket.split();
    let output = Output {
        frames,
        unread: BytesMut::new(),
        stderr: Vec::new(),
    };
    (Input { sink }, output)
}

/// The standard input of a program.
pub(super) struct Input<S> {
    sink: SplitSink<S, Message>,
}

impl<S: Socket> Input<S> {
    /// Sends all of some bytes.
    ///
    /// # Errors
    ///
    /// [`End::Cut`] if the connection has ended, or accepts nothing for some time.
    pub(super) async fn send(&mut self, content: &[u8]) -> Result<(), End> {
        for part in content.chunks(FRAME) {
            let mut frame = BytesMut::with_capacity(1 + part.len());
            frame.put_u8(STDIN);
            frame.put_slice(part);
            let fed = self.sink.feed(Message::Binary(frame.freeze()));
            within(SEND_TIMEOUT, fed).await?;
        }
        within(SEND_TIMEOUT, self.sink.flush()).await
    }
}

async fn within(
    timeout: Duration,
    sending: impl Future<Output = Result<(), WsError>>,
) -> Result<(), End> {
    match tokio::time::timeout(timeout, sending).await {
        Ok(sent) => sent.map_err(|error| End::Cut(error.to_string())),
        Err(_elapsed) => Err(End::Cut(format!(
            "the connection accepted nothing for {timeout:?}"
        ))),
    }
}

/// The output of a program. What comes from inside the sandbox is untrusted.
pub(super) struct Output<S> {
    frames: SplitStream<S>,
    /// What has arrived and was not returned yet.
    unread: BytesMut,
    stderr: Vec<u8>,
}

/// Why no more output follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The program has ended with this exit code.
    Exit(i32),
    /// The program could not be run; the message is the cluster's.
    Refused(String),
    /// The connection has ended before the program.
    Cut(String),
    /// The output does not follow the protocol.
    Unexpected(&'static str),
}

impl<S: Socket> Output<S> {
    /// Returns the next line, without its end.
    ///
    /// # Errors
    ///
    /// Why none follows.
    pub(super) async fn next_line(&mut self) -> Result<String, End> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let mut line = self.unread.split_to(end + 1);
                line.truncate(end);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            if self.unread.len() > MAX_LINE {
                return Err(End::Unexpected("a line has no end"));
            }
            self.receive().await?;
        }
    }

    /// Returns the next bytes, at least one and at most `limit`.
    ///
    /// # Errors
    ///
    /// Why none follow.
    pub(super) async fn next_bytes(&mut self, limit: usize) -> Result<Bytes, End> {
        while self.unread.is_empty() {
            self.receive().await?;
        }
        Ok(self.unread.split_to(limit.min(self.unread.len())).freeze())
    }

    /// Returns the beginning of what the program has written to its standard error.
    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr).trim().to_owned()
    }

    /// Receives one frame.
    async fn receive(&mut self) -> Result<(), End> {
        let mut frame = match self.frames.next().await {
            Some(Ok(Message::Binary(frame))) if !frame.is_empty() => frame,
            Some(Ok(Message::Close(_))) | None => {
                return Err(End::Cut("the API server closed the connection".into()));
            }
            Some(Ok(_)) => return Ok(()),
            Some(Err(error)) => return Err(End::Cut(error.to_string())),
        };
        match frame.get_u8() {
            STDOUT => self.unread.extend_from_slice(&frame),
            STDERR => {
                let room = MAX_STDERR.saturating_sub(self.stderr.len());
                let kept = frame.get(..room.min(frame.len()));
                self.stderr.extend_from_slice(kept.unwrap_or_default());
            }
            RESULT if !frame.is_empty() => return Err(read_result(&frame)),
            // The first frame of each channel may be empty.
            _ => {}
        }
        Ok(())
    }
}

/// Reads the `Status` that ends a program.
/// <https://github.com/kubernetes/kubernetes/blob/v1.36.0/staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go>
fn read_result(text: &[u8]) -> End {
    let Ok(status) = serde_json::from_slice::<Status>(text) else {
        return End::Refused(String::from_utf8_lossy(text).into_owned());
    };
    if status.status.as_deref() == Some("Success") {
        return End::Exit(0);
    }
    let causes = status.details.and_then(|details| details.causes);
    let code = causes
        .iter()
        .flatten()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))
        .and_then(|cause| cause.message.as_deref()?.parse().ok());
    match code {
        Some(code) => End::Exit(code),
        None => End::Refused(status.message.unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    type Pipe = WebSocketStream<DuplexStream>;

    async fn program() -> (Input<Pipe>, Output<Pipe>, Pipe) {
        let (local, remote) = tokio::io::duplex(64 << 10);
        let local = Pipe::from_raw_socket(local, Role::Client, None).await;
        let (input, output) = split(local);
        let remote = Pipe::from_raw_socket(remote, Role::Server, None).await;
        (input, output, remote)
    }

    async fn write(remote: &mut Pipe, frame: &[u8]) {
        let frame = Message::Binary(Bytes::copy_from_slice(frame));
        remote.send(frame).await.unwrap();
    }

    #[tokio::test]
    async fn lines_and_bytes_are_read_whatever_the_frames_are() {
        let (_input, mut output, mut remote) = program().await;
        for frame in [
            &b"\x01"[..],
            b"\x02",
            b"\x03",
            b"\x01one\ntw",
            b"\x02warn",
            b"\x01o\nbytes",
            b"\x02ing\n",
        ] {
            write(&mut remote, frame).await;
        }
        let mut result = vec![RESULT];
        result.extend(br#"{"status":"Success"}"#);
        write(&mut remote, &result).await;
        assert_eq!(output.next_line().await.unwrap(), "one");
        assert_eq!(output.next_line().await.unwrap(), "two");
        assert_eq!(output.next_bytes(4).await.unwrap(), "byte");
        assert_eq!(output.next_bytes(9).await.unwrap(), "s");
        assert_eq!(output.next_line().await, Err(End::Exit(0)));
        assert_eq!(output.stderr(), "warning");
    }

    #[tokio::test]
    async fn input_is_sent_in_frames_of_channel_0() {
        let (mut input, _output, mut remote) = program().await;
        let content = vec![7; FRAME + 1];
        let sent = tokio::spawn(async move { input.send(&content).await });
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < FRAME + 1 {
            let Some(Ok(Message::Binary(frame))) = remote.next().await else {
                panic!()
            };
            assert_eq!(frame[0], STDIN);
            sizes.push(frame.len() - 1);
        }
        assert_eq!(sizes, [FRAME, 1]);
        sent.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_hostile_program_cannot_fill_the_memory() {
        let (_input, mut output, mut remote) = program().await;
        let written = tokio::spawn(async move {
            for channel in [2, 1] {
                let mut frame = vec![b'x'; 8 << 10];
                frame[0] = channel;
                write(&mut remote, &frame).await;
            }
            remote
        });
        assert!(matches!(output.next_line().await, Err(End::Unexpected(_))));
        assert_eq!(output.stderr.len(), MAX_STDERR);
        drop(written.await.unwrap());
    }

    #[tokio::test]
    async fn a_lost_connection_is_no_exit() {
        let (mut input, mut output, remote) = program().await;
        drop(remote);
        assert!(matches!(output.next_line().await, Err(End::Cut(_))));
        let mut sent = input.send(b"more").await;
        for _ in 0..10 {
            sent = sent.and(input.send(&[0; FRAME]).await);
        }
        assert!(matches!(sent, Err(End::Cut(_))), "{sent:?}");
    }

    #[test]
    fn results_of_kubernetes_are_read() {
        let failed = r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: Error executing in Docker Container: 126","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"126"}]}}"#;
        let refused = r#"{"metadata":{},"status":"Failure","message":"Internal error occurred: exec: \"sh\": executable file not found in $PATH","reason":"InternalError","code":500}"#;
        for (text, expected) in [
            (r#"{"metadata":{},"status":"Success"}"#, End::Exit(0)),
            (failed, End::Exit(126)),
            (
                refused,
                End::Refused(
                    "Internal error occurred: exec: \"sh\": executable file not found in $PATH"
                        .into(),
                ),
            ),
            (
                "container is gone",
                End::Refused("container is gone".into()),
            ),
        ] {
            assert_eq!(read_result(text.as_bytes()), expected);
        }
    }
}
