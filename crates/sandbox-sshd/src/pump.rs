//! A command's output on its way to the client.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::output::{Lost, Output};

/// Room for the first read, and for each after one that filled it.
const SMALL: usize = 4 << 10;
pub(crate) const LARGE: usize = 64 << 10;
/// A stream that a background process holds open is over when it was quiet this long after
/// the command's own end.
const QUIET: Duration = Duration::from_millis(100);
/// A stream that is never quiet is over after this long, and after more than any pipe holds,
/// so that all that the command itself wrote has passed.
const LONGEST: Duration = Duration::from_secs(2);
const PIPE_AT_MOST: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Reads to the end and sends. It reads only what the client's window has room for, so a slow
/// client slows the command down.
pub(crate) async fn pump(
    reader: impl AsyncRead + Unpin,
    stream: Stream,
    output: &Output,
    exited: &CancellationToken,
) -> Result<(), Lost> {
    let mut tail = Tail::new(reader, exited);
    while let Some(data) = tail.next().await {
        match stream {
            Stream::Stdout => output.stdout(data).await?,
            Stream::Stderr => output.stderr(data).await?,
        }
    }
    Ok(())
}

/// Reads what a command writes, and a little longer than it lives.
pub(crate) struct Tail<'a, R> {
    reader: R,
    exited: &'a CancellationToken,
    buffer: BytesMut,
    room: usize,
    after_exit: Option<(Instant, usize)>,
}

impl<'a, R: AsyncRead + Unpin> Tail<'a, R> {
    pub(crate) fn new(reader: R, exited: &'a CancellationToken) -> Self {
        Self {
            reader,
            exited,
            buffer: BytesMut::new(),
            room: SMALL,
            after_exit: None,
        }
    }

    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let read = self.read().await.ok().filter(|&read| read > 0)?;
        if read >= self.room {
            self.room = LARGE;
        }
        if let Some((_, bytes)) = &mut self.after_exit {
            *bytes += read;
        }
        Some(self.buffer.split().freeze())
    }

    /// Zero at the end. A terminal whose last process has gone says so with an error.
    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(self.room);
        if self.after_exit.is_none() {
            tokio::select! {
                // First, for a stream may be ready always.
                biased;
                () = self.exited.cancelled() => self.after_exit = Some((Instant::now(), 0)),
                read = self.reader.read_buf(&mut self.buffer) => return read,
            }
        }
        match self.after_exit {
            Some((exit, bytes)) if exit.elapsed() > LONGEST && bytes > PIPE_AT_MOST => Ok(0),
            _ => tokio::time::timeout(QUIET, self.reader.read_buf(&mut self.buffer))
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
    async fn what_is_in_the_pipe_at_the_end_is_read_though_it_is_held_open() {
        let (mut writer, reader) = tokio::io::duplex(100_000);
        writer.write_all(&[1; 100_000]).await.unwrap();
        let exited = CancellationToken::new();
        exited.cancel();
        let mut tail = Tail::new(reader, &exited);
        let mut total = 0;
        while let Some(data) = tail.next().await {
            total += data.len();
        }
        assert_eq!(total, 100_000);
        drop(writer);
    }

    #[tokio::test(start_paused = true)]
    async fn a_background_process_that_never_stops_writing_is_left() {
        let exited = CancellationToken::new();
        exited.cancel();
        let mut tail = Tail::new(tokio::io::repeat(b'y'), &exited);
        while tail.next().await.is_some() {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }
}
