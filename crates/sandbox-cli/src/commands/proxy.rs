//! `sandbox proxy`: carries bytes between an SSH client and a sandbox's SSH server.

use std::ffi::OsString;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use sandbox::{ByteStream, Client};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::stdio::{AsyncStdin, AsyncStdout};

/// The buffer size. It is larger than a packet of any SSH implementation.
const BUFFER_SIZE: usize = 64 << 10;

/// Connect stdin and stdout to a sandbox's SSH server
///
/// Use it as ProxyCommand of ssh; `sandbox ssh-config` writes one. It works from outside of a
/// cluster without exposing anything: if the Pod is not reachable directly, through the API server.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Fail if the sandbox with this id is not the one with this uid
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let access = client.access(&id).await?;
    if let Some(uid) = &args.uid
        && uid != access.uid.as_str()
    {
        bail!(
            "the sandbox {id} that this configuration of ssh was written for no longer exists: it was created anew \
             under the same id; run `sandbox ssh-config {id}` again, with --install if you installed it"
        );
    }
    let stream = client.open_ssh_stream(&access).await?;
    copy_both_ways(stream).await?;
    Ok(0)
}

/// Copies in both directions until the server closes the stream. An end of stdin is forwarded.
async fn copy_both_ways(stream: Box<dyn ByteStream>) -> Result<()> {
    let (mut from_server, mut to_server) = tokio::io::split(stream);
    let sending = async {
        copy(&mut AsyncStdin::default(), &mut to_server).await?;
        // If the server has closed the stream, it needs no end of the input.
        match to_server.shutdown().await {
            Err(error) if error.kind() != ErrorKind::NotConnected => Err(error),
            _ => Ok(()),
        }
    };
    let mut stdout = AsyncStdout::default();
    let receiving = copy(&mut from_server, &mut stdout);
    tokio::pin!(sending, receiving);
    let mut sent = false;
    loop {
        tokio::select! {
            done = &mut receiving => return done.context("the connection to the sandbox was lost"),
            done = &mut sending, if !sent => {
                sent = true;
                // The rest of the server's output may contain the reason.
                if let Err(error) = done {
                    tracing::debug!(%error, "server closed its input");
                }
            }
        }
    }
}

/// Copies without delay, because the session may be interactive.
async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut piece = vec![0; BUFFER_SIZE];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
        to.flush().await?;
    }
}
