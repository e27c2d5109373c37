//! `sandbox proxy`: the bytes between an SSH client and a sandbox's server.

use std::ffi::OsString;
use std::io::ErrorKind;

use anyhow::{Context, Result};
use sandbox::{ByteStream, Client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::args::id;
use crate::exit::Outcome;

/// More than a packet of any SSH implementation.
const PIECE: usize = 64 << 10;

/// Connect standard input and output to a sandbox's SSH server
///
/// For ssh's ProxyCommand; `sandbox ssh-config` writes one. Works from outside of a cluster with
/// nothing exposed: through its API server where the Pod is not reachable directly.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let access = client.access(&id).await?;
    let stream = client.open_ssh_stream(&access).await?;
    carry(stream).await?;
    Ok(0)
}

/// Both ways, until the server ends it. An end of the input is passed on, and the rest is waited for.
async fn carry(stream: Box<dyn ByteStream>) -> Result<()> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let sending = async {
        copy(&mut tokio::io::stdin(), &mut to_server).await?;
        // A server that has gone needs no end of the input.
        match to_server.shutdown().await {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    };
    let mut stdout = tokio::io::stdout();
    let receiving = copy(&mut from_server, &mut stdout);
    tokio::pin!(sending, receiving);
    let mut sent = false;
    loop {
        tokio::select! {
            done = &mut receiving => return done.context("the connection to the sandbox was cut"),
            done = &mut sending, if !sent => {
                sent = true;
                // What the server still says may tell why.
                if let Err(error) = done {
                    tracing::debug!(%error, "the server takes no more");
                }
            }
        }
    }
}

/// Each piece is passed on at once: somebody may be typing.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}
