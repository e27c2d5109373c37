//! `SendInput` and `StreamInput`: what clients write to processes.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use sandbox::{InputTarget, ProcessInput, ProcessSelector};

use super::messages::{Input, InputRequest, StreamedInput};
use super::{as_internal, to_selector};
use crate::connect::{
    CallKind, ConnectError, Cut, FrameParser, MAX_MESSAGE, encode_frame, parse_message,
};
use crate::envd::call::{Call, Empty};
use crate::envd::failure::Failure;

/// `SendInput`. It returns once the process's input has taken everything.
pub(super) async fn send(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: InputRequest = call.message(body).await?;
    let process = to_selector(request.process)?;
    let (target, content) = to_input(request.input)?;
    let processes = call.sandbox.processes();
    call.run(processes.write_input(process, target, &content))
        .await
        .map_err(as_internal)?;
    Ok(Empty {})
}

/// `StreamInput`: messages of input until the client ends its stream, then an empty one.
pub(super) async fn stream(call: &Call, body: Body) -> Response {
    match receive(call, body).await {
        Ok(message) => {
            call.stream_response(stream::iter([Ok::<_, Cut>(message)]), None, Bytes::new())
        }
        Err(failure) => failure.into_call_response(CallKind::Stream),
    }
}

async fn receive(call: &Call, body: Body) -> Result<Bytes, Failure> {
    let mut messages = Messages {
        body,
        frames: FrameParser::new(MAX_MESSAGE),
    };
    let mut writer = Writer {
        call,
        process: None,
        input: None,
    };
    while let Some(message) = messages.next().await? {
        if let Some(start) = message.start {
            writer.finish().await?;
            writer.process = Some(to_selector(start.process)?);
        } else if let Some(data) = message.data {
            let (target, content) = to_input(data.input)?;
            writer.write(target, &content).await?;
        }
    }
    writer.finish().await?;
    Ok(encode_frame(&Empty {})?)
}

/// The messages of a client's stream, taken from it only as fast as they are used.
struct Messages {
    body: Body,
    frames: FrameParser,
}

impl Messages {
    async fn next(&mut self) -> Result<Option<StreamedInput>, ConnectError> {
        loop {
            if let Some(message) = self.frames.next_message()? {
                return parse_message(&message).map(Some);
            }
            match self.body.frame().await {
                None => {
                    self.frames.check_end()?;
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.push(&data);
                    }
                }
                Some(Err(_cut_off)) => {
                    return Err(ConnectError::invalid("the stream was cut off"));
                }
            }
        }
    }
}

/// Writes to one process at a time.
struct Writer<'a> {
    call: &'a Call,
    process: Option<ProcessSelector>,
    /// The input that is open, and what it is.
    input: Option<(InputTarget, ProcessInput)>,
}

impl Writer<'_> {
    async fn write(&mut self, target: InputTarget, content: &[u8]) -> Result<(), Failure> {
        if self.input.as_ref().is_some_and(|(open, _)| *open != target) {
            self.finish().await?;
        }
        let written = match &mut self.input {
            Some((_, input)) => input.write(content).await,
            none => {
                let process = self.process.clone().ok_or_else(|| {
                    Failure::invalid("the stream must begin with a message that names the process")
                })?;
                let opened = self.call.sandbox.processes().input(process, target).await;
                match opened {
                    Ok(input) => none.insert((target, input)).1.write(content).await,
                    Err(error) => Err(error),
                }
            }
        };
        check(self.call, written).await
    }

    /// Waits until everything is written.
    async fn finish(&mut self) -> Result<(), Failure> {
        let Some((_, input)) = self.input.take() else {
            return Ok(());
        };
        let finished = input.finish().await;
        check(self.call, finished).await
    }
}

async fn check(call: &Call, result: sandbox::Result<()>) -> Result<(), Failure> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(as_internal(call.guest.explain(error).await)),
    }
}

fn to_input(input: Option<Input>) -> Result<(InputTarget, Bytes), Failure> {
    match input {
        Some(Input {
            stdin: Some(content),
            ..
        }) => Ok((InputTarget::Stdin, content)),
        Some(Input {
            pty: Some(content), ..
        }) => Ok((InputTarget::Terminal, content)),
        Some(Input { .. }) | None => Err(Failure::invalid("the input is missing")),
    }
}
