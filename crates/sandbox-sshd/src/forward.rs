//! Streams to ports and sockets inside the sandbox (RFC 4254 §7.2, and OpenSSH's
//! `direct-streamlocal@openssh.com`).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::command::{Ends, unless};
use crate::output::{Lost, Output};
use crate::pump::LARGE;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects to the first address of `host` that answers.
pub(crate) async fn connect_tcp(host: &str, port: u32) -> io::Result<TcpStream> {
    let port = u16::try_from(port)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "there is no such port"))?;
    let mut failure = None;
    for address in crate::names::resolve(host, Path::new("/etc/hosts"))? {
        match timely(TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Connects to a Unix socket; a relative path starts at `home`.
pub(crate) async fn connect_unix(home: &Path, path: &str) -> io::Result<UnixStream> {
    timely(UnixStream::connect(home.join(path))).await
}

/// Copies both ways until both are over or the client has gone.
pub(crate) async fn copy(stream: impl AsyncRead + AsyncWrite, ends: Ends) -> Result<(), Lost> {
    let Ends {
        mut input,
        output,
        control: _control,
    } = ends;
    let gone = input.gone();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let inward = async {
        while let Ok(Some(data)) = input.next().await {
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
        input.discard();
        // The other side may have gone first.
        writer.shutdown().await.ok();
        Ok(())
    };
    unless(&gone, async {
        tokio::try_join!(inward, outward(&mut reader, &output))?;
        output.finish(None).await
    })
    .await
}

async fn outward(reader: &mut (impl AsyncRead + Unpin), output: &Output) -> Result<(), Lost> {
    let mut buffer = bytes::BytesMut::new();
    loop {
        buffer.reserve(LARGE);
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return output.eof().await,
            Ok(_) => output.stdout(buffer.split().freeze()).await?,
        }
    }
}

async fn timely<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
