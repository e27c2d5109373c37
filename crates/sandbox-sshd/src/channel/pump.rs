//! Copying a command's output to its channel.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::output::{ChannelClosed, Output};

/// Bytes of the first buffer, and of each one after a read that filled a buffer.
const SMALL: usize = 4 << 10;
pub(crate) const LARGE: usize = 64 << 10;
/// How long a stream must be silent after the command's end to count as ended, if a background
/// process holds it open.
const SILENCE: Duration = Duration::from_millis(100);
/// A stream that is never silent counts as ended after this time, and after more bytes than any
/// pipe holds, so that all output of the command itself has been read.
const MAX_DRAIN_TIME: Duration = Duration::from_secs(2);
const MAX_PIPE: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

/// Sends a stream of a command to its end. It reads only as fast as the client's window allows, so
/// a slow client slows the command down.
pub(crate) async fn pump(
    reader: impl AsyncRead + Unpin,
    stream: OutputStream,
    output: &Output,
    exited: &CancellationToken,
) -> Result<(), ChannelClosed> {
    let mut reader = OutputReader::new(reader, exited);
    while let Some(data) = reader.next().await {
        match stream {
            OutputStream::Stdout => output.send_stdout(data).await?,
            OutputStream::Stderr => output.send_stderr(data).await?,
        }
    }
    Ok(())
}

/// Reads one stream of a command until it ends, or until shortly after the command's end if a
/// background process holds the stream open.
pub(crate) struct OutputReader<'a, R> {
    reader: R,
    exited: &'a CancellationToken,
    buffer: BytesMut,
    capacity: usize,
    after_exit: Option<(Instant, usize)>,
}

impl<'a, R: AsyncRead + Unpin> OutputReader<'a, R> {
    pub(crate) fn new(reader: R, exited: &'a CancellationToken) -> Self {
        Self {
            reader,
            exited,
            buffer: BytesMut::new(),
            capacity: SMALL,
            after_exit: None,
        }
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Returns the next output, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let read = self.read().await.ok().filter(|&read| read > 0)?;
        if read >= self.capacity {
            self.capacity = LARGE;
        }
        if let Some((_, bytes)) = &mut self.after_exit {
            *bytes += read;
        }
        Some(self.buffer.split().freeze())
    }

    /// Returns 0 at the end. A terminal whose last process has ended fails with EIO.
    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(self.capacity);
        if self.after_exit.is_none() {
            tokio::select! {
                // `exited` comes first, because a stream may always be ready.
                biased;
                () = self.exited.cancelled() => self.after_exit = Some((Instant::now(), 0)),
                read = self.reader.read_buf(&mut self.buffer) => return read,
            }
        }
        match self.after_exit {
            Some((exit, bytes)) if exit.elapsed() > MAX_DRAIN_TIME && bytes > MAX_PIPE => Ok(0),
            _ => tokio::time::timeout(SILENCE, self.reader.read_buf(&mut self.buffer))
                .await
                .unwrap_or(Ok(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test(start_paused = true)]
    async fn a_pipe_that_is_held_open_is_read_until_it_is_empty() {
        let (mut writer, pipe) = tokio::io::duplex(100_000);
        writer.write_all(&[1; 100_000]).await.unwrap();
        let exited = CancellationToken::new();
        exited.cancel();
        let mut reader = OutputReader::new(pipe, &exited);
        let mut total = 0;
        while let Some(data) = reader.next().await {
            total += data.len();
        }
        assert_eq!(total, 100_000);
        drop(writer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_background_process_that_never_stops_writing_is_abandoned() {
        let exited = CancellationToken::new();
        exited.cancel();
        let mut reader = OutputReader::new(tokio::io::repeat(b'y'), &exited);
        while reader.next().await.is_some() {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
}
