//! Streams to ports and sockets inside the sandbox (RFC 4254 §7.2, and OpenSSH's
//! `direct-streamlocal@openssh.com`).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::hosts;
use super::io::{ChannelIo, send_unless_closed};
use super::output::{ChannelClosed, Output};
use super::pump::LARGE;

/// Timeout of connecting to a port or socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the first address of `host` that accepts.
pub(crate) async fn connect_tcp(host: &str, port: u32) -> io::Result<TcpStream> {
    let port = u16::try_from(port)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "ports end at 65535"))?;
    let mut last_error = None;
    for address in hosts::resolve(host, Path::new("/etc/hosts"))? {
        match connect_with_timeout(TcpStream::connect(SocketAddr::new(address, port))).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last_error = Some(error),
        }
    }
    Err(last_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Connects to a Unix socket. A relative path starts at `home`.
pub(crate) async fn connect_unix(home: &Path, path: &str) -> io::Result<UnixStream> {
    connect_with_timeout(UnixStream::connect(home.join(path))).await
}

/// Copies in both directions until both have ended or the channel is closed.
pub(crate) async fn copy(
    stream: impl AsyncRead + AsyncWrite,
    channel: ChannelIo,
) -> Result<(), ChannelClosed> {
    let ChannelIo {
        mut input,
        output,
        control: _control,
    } = channel;
    let closed = input.closed_token();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let upstream = async {
        while let Ok(Some(data)) = input.next().await {
            if writer.write_all(&data).await.is_err() {
                break;
            }
        }
        input.discard();
        // The other side may have closed the stream already.
        writer.shutdown().await.ok();
        Ok(())
    };
    send_unless_closed(&closed, async {
        tokio::try_join!(upstream, copy_output(&mut reader, &output))?;
        output.finish(None).await
    })
    .await
}

async fn copy_output(
    reader: &mut (impl AsyncRead + Unpin),
    output: &Output,
) -> Result<(), ChannelClosed> {
    let mut buffer = bytes::BytesMut::new();
    loop {
        buffer.reserve(LARGE);
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => return output.send_eof().await,
            Ok(_) => output.send_stdout(buffer.split().freeze()).await?,
        }
    }
}

async fn connect_with_timeout<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
