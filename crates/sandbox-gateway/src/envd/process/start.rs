//! `Start` and `Connect`: a process and a stream of its events.

use axum::body::Body;
use axum::response::Response;
use sandbox::{FilePath, ProcessSpec};

use super::messages::{ProcessConfig, Selected, Size, StartRequest};
use super::output::{KEEPALIVE, Output};
use super::{to_selector, to_size};
use crate::connect::{Deadline, encode_frame};
use crate::envd::call::Call;
use crate::envd::failure::Failure;

/// The size of a terminal whose client names none.
const DEFAULT_SIZE: Size = Size { cols: 80, rows: 24 };

/// The variables that say where a process runs.
const OWN_VARIABLES: [&str; 3] = ["E2B_SANDBOX", "E2B_SANDBOX_ID", "E2B_TEMPLATE_ID"];

/// Whether a process has this variable without its client having asked for it.
pub(super) fn is_own_variable(name: &str) -> bool {
    OWN_VARIABLES.contains(&name)
}

/// `Start`. The timeout of the call kills the process; the end of the call does not.
pub(super) async fn start(call: &Call, body: Body) -> Result<Response, Failure> {
    let request: StartRequest = call.frame(body).await?;
    let spec = to_spec(call, request)?;
    let processes = call.sandbox.processes();
    let process = match processes.start(spec).await {
        Ok(process) => process,
        Err(error) => return Err(call.guest.explain(error).await),
    };
    let output = Output::new(call.guest.clone(), process);
    let keepalive = encode_frame(&KEEPALIVE)?;
    // The sandbox's server enforces the deadline, and says when it has.
    Ok(call.stream_response(output.into_frames(), None, keepalive))
}

/// `Connect`: what a running process writes from now on. The timeout of the call ends only the call.
pub(super) async fn connect(call: &Call, body: Body) -> Result<Response, Failure> {
    let request: Selected = call.frame(body).await?;
    let process = to_selector(request.process)?;
    let deadline = Deadline::parse(&call.head.headers)?;
    let processes = call.sandbox.processes();
    let process = call.run(processes.attach(process)).await?;
    let output = Output::new(call.guest.clone(), process);
    let keepalive = encode_frame(&KEEPALIVE)?;
    Ok(call.stream_response(output.into_frames(), deadline, keepalive))
}

fn to_spec(call: &Call, request: StartRequest) -> Result<ProcessSpec, Failure> {
    let ProcessConfig {
        cmd,
        args,
        envs,
        cwd,
    } = request
        .process
        .filter(|process| !process.cmd.is_empty())
        .ok_or_else(|| Failure::invalid("the command is missing"))?;
    let mut spec = ProcessSpec::default();
    spec.argv = std::iter::once(cmd)
        .chain(args)
        .map(FilePath::from)
        .collect();
    spec.directory = cwd.filter(|cwd| !cwd.is_empty()).map(FilePath::from);
    spec.env = own_variables(call);
    // Of two with one name, the later one counts.
    let requested = envs.into_iter();
    spec.env
        .extend(requested.map(|(name, value)| (FilePath::from(name), FilePath::from(value))));
    spec.stdin = request.stdin.unwrap_or(true);
    if let Some(pty) = request.pty {
        spec.terminal = Some(to_size(pty.size.unwrap_or(DEFAULT_SIZE))?);
    }
    spec.tag = request.tag;
    spec.timeout_ms = Deadline::parse(&call.head.headers)?
        .map(|deadline| u64::try_from(deadline.timeout.as_millis()).unwrap_or(u64::MAX));
    spec.user = call.user()?;
    Ok(spec)
}

fn own_variables(call: &Call) -> Vec<(FilePath, FilePath)> {
    let found = &call.guest.found;
    let template = found.record.as_ref().map(|record| record.template.as_str());
    let values = ["true", found.info.id.as_str(), template.unwrap_or_default()];
    OWN_VARIABLES
        .into_iter()
        .zip(values)
        .map(|(name, value)| (FilePath::from(name), FilePath::from(value)))
        .collect()
}
