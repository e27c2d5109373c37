//! Streams to ports and sockets inside the sandbox (RFC 4254 §7.2, and OpenSSH's
//! `direct-streamlocal@openssh.com`).

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;

use super::hosts;
use super::input::InputReader;
use super::io::{ChannelIo, send_unless_closed};
use super::output::{ChannelClosed, Output};

/// Bytes of a read from a stream that is quiet, and from one whose last read filled that. There may be a thousand streams, and
/// most are quiet.
const SMALL: usize = 2 << 10;
const LARGE: usize = 32 << 10;
/// Timeout of connecting to a port or socket.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a peer may take none of the rest of an input whose client has left.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

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

/// A stream that can be closed with a reset.
pub(crate) trait ForwardedStream: AsyncRead + AsyncWrite + Unpin {
    /// Makes closing the stream a reset, by which the peer learns that it did not get everything.
    fn reset_when_closed(&self);
}

impl ForwardedStream for TcpStream {
    fn reset_when_closed(&self) {
        sandbox_net::reset_when_closed(self);
    }
}

impl ForwardedStream for UnixStream {
    /// Unix sockets have no reset.
    fn reset_when_closed(&self) {}
}

/// Why copying stopped before both directions had ended.
enum Stop {
    /// The peer inside has reset the stream.
    Reset,
    /// The client has closed the channel, or its input is lost.
    Closed,
}

impl From<ChannelClosed> for Stop {
    fn from(ChannelClosed: ChannelClosed) -> Self {
        Self::Closed
    }
}

/// Copies in both directions until both have ended, one is reset, or the channel is closed. The ends
/// are passed on as they are: an end of file of one direction does not end the other, and what is cut
/// off is never shown as an end of file.
pub(crate) async fn copy(
    mut stream: impl ForwardedStream,
    channel: ChannelIo,
) -> Result<(), ChannelClosed> {
    let ChannelIo {
        mut input,
        output,
        control: _control,
    } = channel;
    let closed = input.closed_token();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let is_reset = AtomicBool::new(false);
    let copied = tokio::try_join!(write_input(&mut input, &mut writer, &is_reset), async {
        tokio::select! {
            sent = send_output(&mut reader, &output, &is_reset) => sent,
            // The input may have an end, and the rest of it is written.
            () = closed.cancelled() => Ok(()),
        }
    },);
    match copied {
        Ok(_) => send_unless_closed(&closed, output.finish(None)).await,
        Err(Stop::Reset) => send_unless_closed(&closed, output.close()).await,
        Err(Stop::Closed) => {
            drop((reader, writer));
            stream.reset_when_closed();
            // The input may also be lost while the channel is open.
            send_unless_closed(&closed, output.close()).await
        }
    }
}

/// Writes the input and its end, as long as the peer takes it.
async fn write_input(
    input: &mut InputReader,
    writer: &mut (impl AsyncWrite + Unpin),
    is_reset: &AtomicBool,
) -> Result<(), Stop> {
    let closed = input.closed_token();
    loop {
        match input.next().await {
            Ok(Some(data)) => {
                let writing = writer.write_all(&data);
                if let Err(error) = finish_writing(writing, input, &closed).await {
                    if closed.is_cancelled() {
                        return Err(Stop::Closed);
                    }
                    // After its end of file, the peer may stop reading without a loss for the client.
                    is_reset.store(error.kind() != io::ErrorKind::BrokenPipe, Ordering::Relaxed);
                    input.discard();
                    return Ok(());
                }
            }
            Ok(None) => {
                // The peer may have closed the stream already.
                writer.shutdown().await.ok();
                return Ok(());
            }
            Err(_) => return Err(Stop::Closed),
        }
    }
}

/// Awaits `writing`. If the channel is closed meanwhile, it continues only if the whole input was
/// received, and only while the peer takes it.
async fn finish_writing(
    writing: impl Future<Output = io::Result<()>>,
    input: &InputReader,
    closed: &CancellationToken,
) -> io::Result<()> {
    tokio::pin!(writing);
    tokio::select! {
        biased;
        written = writing.as_mut() => return written,
        () = closed.cancelled() => {}
    }
    if !input.is_complete() {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    tokio::time::timeout(STALL_TIMEOUT, writing)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Sends what the peer writes, and its end.
async fn send_output(
    reader: &mut (impl AsyncRead + Unpin),
    output: &Output,
    is_reset: &AtomicBool,
) -> Result<(), Stop> {
    let mut capacity = SMALL;
    loop {
        output.wait_for_room().await;
        // A new one each time, because what is left of one keeps all of it.
        let mut buffer = bytes::BytesMut::with_capacity(capacity);
        match reader.read_buf(&mut buffer).await {
            // A reset is reported once, by whichever call is first.
            Ok(0) if !is_reset.load(Ordering::Relaxed) => return Ok(output.send_eof().await?),
            Ok(0) | Err(_) => return Err(Stop::Reset),
            Ok(read) => {
                capacity = if read < SMALL { SMALL } else { LARGE };
                output.send_stdout(buffer.freeze()).await?;
            }
        }
    }
}

async fn connect_with_timeout<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
