//! Operations of the guest protocol, which only the SDK's own client uses (see [`guest`](sandbox_core::guest)).
//!
//! Each has a channel of its own, and ends when that is closed.

mod client;
mod files;
mod processes;
mod sandbox;

use std::path::PathBuf;
use std::sync::Arc;

use sandbox_core::guest::{GuestRequest, Refusal, RefusalCode};

use self::client::Client;
pub(crate) use self::client::Stop;
pub(crate) use self::processes::SharedProcesses;
use crate::channel::io::{ChannelIo, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit};
use crate::process::pause::Pauser;

/// What the operations of one server share.
pub(crate) struct Guest {
    /// The home directory, from which relative paths begin.
    home: PathBuf,
    processes: Arc<SharedProcesses>,
    pauser: Arc<Pauser>,
}

impl Guest {
    pub(crate) fn new(home: PathBuf, processes: Arc<SharedProcesses>, pauser: Arc<Pauser>) -> Self {
        Self {
            home,
            processes,
            pauser,
        }
    }
}

/// Serves one operation.
pub(crate) async fn serve(channel: ChannelIo, guest: &Guest) -> Result<(), ChannelClosed> {
    let ChannelIo {
        input,
        output,
        control: _control,
    } = channel;
    let closed = input.closed_token();
    let (mut client, receiving) = Client::new(input, &output);
    let operation = async {
        let served = match client.request().await {
            Ok(request) => carry_out(request, &mut client, guest).await,
            Err(stop) => Err(stop),
        };
        match served {
            Ok(()) => {}
            Err(Stop::Refused(refusal)) => client.refuse(&refusal).await?,
            Err(Stop::Closed) => return Err(ChannelClosed),
        }
        output.finish(Some(Exit::Code(0))).await
    };
    tokio::select! {
        served = send_unless_closed(&closed, operation) => served,
        never = receiving => match never {},
    }
}

async fn carry_out(
    request: GuestRequest,
    client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    match request {
        GuestRequest::Process(request) => processes::serve(request, client, guest).await,
        GuestRequest::File(request) => files::serve(request, client, guest).await,
        GuestRequest::Sandbox(request) => sandbox::serve(request, client, guest).await,
        _ => Err(unsupported()),
    }
}

/// The refusal of a request of a later version.
fn unsupported() -> Stop {
    Stop::Refused(Refusal::new(
        RefusalCode::Unsupported,
        "this server does not know the request: create the sandbox anew with this version",
    ))
}
