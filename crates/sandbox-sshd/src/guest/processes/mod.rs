//! Requests about shared processes.

mod attach;
mod process;
mod registry;
mod specification;
mod start;
mod subscribers;

use sandbox_core::guest::{Done, InputTarget, ProcessRequest, ProcessSelector, RefusalCode};

pub(crate) use self::registry::SharedProcesses;
use super::client::Client;
use super::{Guest, Stop, unsupported};

/// Carries out a request.
pub(super) async fn serve(
    request: ProcessRequest,
    client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    let processes = &guest.processes;
    match request {
        ProcessRequest::Start(spec) => match processes.start(*spec).await? {
            start::Started::Running(attached) => attach::send_events(attached, client).await,
            start::Started::Failed(failure) => attach::send_failure(&failure, client).await,
        },
        ProcessRequest::Attach(selector) => {
            let attached = processes.find(&selector)?.attach();
            attach::send_events(attached, client).await
        }
        ProcessRequest::List => {
            for process in processes.running() {
                client.send(&process.description()).await?;
            }
            client.end_content().await?;
            client.send(&Done::default()).await
        }
        ProcessRequest::Input { process, target } => {
            write_input(&process, target, client, processes).await
        }
        ProcessRequest::CloseInput(selector) => {
            processes.find_running(&selector)?.close_input().await?;
            client.send(&Done::default()).await
        }
        ProcessRequest::Signal { process, signal } => {
            processes.find_running(&process)?.signal(&signal)?;
            client.send(&Done::default()).await
        }
        ProcessRequest::Resize { process, size } => {
            processes.find_running(&process)?.resize(size)?;
            client.send(&Done::default()).await
        }
        _ => Err(unsupported()),
    }
}

/// Writes the content that the client sends to the input of a process.
async fn write_input(
    selector: &ProcessSelector,
    target: InputTarget,
    client: &mut Client<'_>,
    processes: &SharedProcesses,
) -> Result<(), Stop> {
    let process = processes.find_running(selector)?;
    process.check_target(target)?;
    while let Some(data) = client.content().await? {
        process.write_input(&data).await?;
    }
    client.send(&Done::default()).await
}

/// Creates the refusal of a malformed request.
fn invalid(message: impl Into<String>) -> sandbox_core::guest::Refusal {
    sandbox_core::guest::Refusal::new(RefusalCode::Invalid, message)
}
