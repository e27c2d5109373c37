//! The service `process.Process`.

mod input;
mod messages;
mod output;
mod start;

use axum::body::Body;
use axum::response::Response;
use sandbox::{ProcessSelector, Signal, TerminalSize};

use self::messages::{Processes, ResizeRequest, Selected, Selector, SignalKind, SignalRequest};
use super::call::{Call, Empty, respond};
use super::failure::Failure;
use crate::connect::{CallKind, Code};

/// A method of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    List,
    Start,
    Connect,
    Update,
    SendInput,
    StreamInput,
    SendSignal,
    CloseStdin,
}

impl Method {
    /// Returns the method with this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "List" => Self::List,
            "Start" => Self::Start,
            "Connect" => Self::Connect,
            "Update" => Self::Update,
            "SendInput" => Self::SendInput,
            "StreamInput" => Self::StreamInput,
            "SendSignal" => Self::SendSignal,
            "CloseStdin" => Self::CloseStdin,
            _unknown => return None,
        })
    }

    /// How it exchanges messages.
    pub(super) fn kind(self) -> CallKind {
        match self {
            Self::Start | Self::Connect | Self::StreamInput => CallKind::Stream,
            Self::List | Self::Update | Self::SendInput | Self::SendSignal | Self::CloseStdin => {
                CallKind::Unary
            }
        }
    }
}

/// Carries out a call.
pub(super) async fn answer(method: Method, call: &Call, body: Body) -> Response {
    match method {
        Method::List => respond(list(call, body).await),
        Method::Start => stream(start::start(call, body).await),
        Method::Connect => stream(start::connect(call, body).await),
        Method::Update => respond(resize(call, body).await),
        Method::SendInput => respond(input::send(call, body).await),
        Method::StreamInput => input::stream(call, body).await,
        Method::SendSignal => respond(send_signal(call, body).await),
        Method::CloseStdin => respond(close_stdin(call, body).await),
    }
}

fn stream(result: Result<Response, Failure>) -> Response {
    result.unwrap_or_else(|failure| failure.into_call_response(CallKind::Stream))
}

async fn list(call: &Call, body: Body) -> Result<Processes, Failure> {
    let Empty {} = call.message(body).await?;
    let listed = call.run(call.sandbox.processes().list()).await?;
    Ok(Processes::of(&listed))
}

async fn resize(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: ResizeRequest = call.message(body).await?;
    let process = to_selector(request.process)?;
    // Without a size there is nothing to update.
    let Some(size) = request.pty.and_then(|pty| pty.size) else {
        return Ok(Empty {});
    };
    let size = to_size(size)?;
    call.run(call.sandbox.processes().resize(process, size))
        .await
        .map_err(as_internal)?;
    Ok(Empty {})
}

async fn send_signal(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: SignalRequest = call.message(body).await?;
    let process = to_selector(request.process)?;
    let signal = match request.signal {
        Some(SignalKind::Terminate) => Signal::Term,
        Some(SignalKind::Kill) => Signal::Kill,
        None => {
            let message = "only SIGNAL_SIGTERM and SIGNAL_SIGKILL can be sent";
            return Err(Failure::new(Code::Unimplemented, message));
        }
    };
    call.run(call.sandbox.processes().signal(process, signal))
        .await?;
    Ok(Empty {})
}

async fn close_stdin(call: &Call, body: Body) -> Result<Empty, Failure> {
    let request: Selected = call.message(body).await?;
    let process = to_selector(request.process)?;
    call.run(call.sandbox.processes().close_input(process))
        .await
        .map_err(as_internal)?;
    Ok(Empty {})
}

fn to_selector(selector: Option<Selector>) -> Result<ProcessSelector, Failure> {
    match selector {
        Some(Selector { pid: Some(pid), .. }) => Ok(ProcessSelector::Pid(pid)),
        Some(Selector { tag: Some(tag), .. }) => Ok(ProcessSelector::Tag(tag)),
        Some(Selector { .. }) | None => Err(Failure::invalid(
            "the process is missing; name it by its pid or its tag",
        )),
    }
}

fn to_size(size: messages::Size) -> Result<TerminalSize, Failure> {
    match (u16::try_from(size.cols), u16::try_from(size.rows)) {
        (Ok(columns), Ok(rows)) => Ok(TerminalSize { columns, rows }),
        _ => Err(Failure::invalid(
            "a terminal has at most 65535 columns and rows",
        )),
    }
}

/// What a process does not have, such as a terminal, is `internal` in this service.
fn as_internal(failure: Failure) -> Failure {
    match failure {
        Failure::Call(mut error) if error.code == Code::InvalidArgument => {
            error.code = Code::Internal;
            Failure::Call(error)
        }
        failure => failure,
    }
}
