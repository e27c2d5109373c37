//! Operations of the guest protocol, which only the SDK's own client uses (see [`guest`](sandbox_core::guest)).
//!
//! Each has a channel of its own, and ends when that is closed.

mod client;
mod content;
mod entry;
mod files;
mod paths;
mod processes;
mod refusals;
mod sandbox;
mod threads;
mod usage;
mod watch;

use std::sync::Arc;

use sandbox_core::guest::{GuestRequest, Refusal, RefusalCode};

use self::client::Client;
pub(crate) use self::client::Stop;
use self::files::Files;
pub(crate) use self::processes::SharedProcesses;
use self::usage::UsageMeter;
use crate::channel::io::{ChannelIo, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit};
use crate::config::ServerConfig;
use crate::process::pause::Pauser;

/// What the operations of one server share.
pub(crate) struct Guest {
    config: Arc<ServerConfig>,
    files: Arc<Files>,
    usage: Arc<UsageMeter>,
    processes: Arc<SharedProcesses>,
    pauser: Arc<Pauser>,
}

impl Guest {
    pub(crate) fn new(
        config: Arc<ServerConfig>,
        processes: Arc<SharedProcesses>,
        pauser: Arc<Pauser>,
    ) -> Self {
        Self {
            files: Arc::new(Files::new(config.home.clone())),
            usage: Arc::new(UsageMeter::new(config.home.clone())),
            config,
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
