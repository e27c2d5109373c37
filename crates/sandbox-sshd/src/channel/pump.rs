//! Copying a command's output to its channel.

use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::output::{ChannelClosed, Output};

/// The most bytes of the first reads, and of each one after a read that was as large as it may be. A packet holds 65,535
/// bytes (russh): with one more, a second packet would carry one byte. Pipes are made of pages, of which a read takes
/// whole ones.
const SMALL: usize = 4 << 10;
pub(crate) const LARGE: usize = 60 << 10;
/// A stream that is never silent counts as ended after this many times the grace. What is in the
/// pipe then is still read, up to more bytes than any pipe holds, because the command itself may
/// have written it.
const MAX_GRACES: u32 = 10;
const MAX_PIPE: usize = 1 << 20;

#[derive(Debug, Clone, Copy)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
}

/// When the output of a command that has ended is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutputEnd<'a> {
    /// Cancelled when the command has ended.
    pub(crate) exited: &'a CancellationToken,
    /// How long a stream must be silent then to count as ended, if another process holds it open.
    pub(crate) grace: Duration,
}

/// Sends a stream of a command to its end, and returns whether another process still holds it open.
/// It reads only as fast as the client's window allows, so a slow client slows the command down.
pub(crate) async fn pump(
    reader: impl AsyncRead + Unpin,
    stream: OutputStream,
    output: &Output,
    end: OutputEnd<'_>,
) -> Result<bool, ChannelClosed> {
    let mut reader = OutputReader::new(reader, end);
    while let Some(data) = reader.next().await {
        match stream {
            OutputStream::Stdout => output.send_stdout(data).await?,
            OutputStream::Stderr => output.send_stderr(data).await?,
        }
    }
    Ok(reader.is_held())
}

/// Reads one stream of a command until it ends, or until the grace after the command's end has
/// passed if another process holds the stream open.
pub(crate) struct OutputReader<'a, R> {
    reader: R,
    end: OutputEnd<'a>,
    buffer: BytesMut,
    capacity: usize,
    after_exit: Option<(Instant, usize)>,
    is_at_end: bool,
}

impl<'a, R: AsyncRead + Unpin> OutputReader<'a, R> {
    pub(crate) fn new(reader: R, end: OutputEnd<'a>) -> Self {
        Self {
            reader,
            end,
            buffer: BytesMut::new(),
            capacity: SMALL,
            after_exit: None,
            is_at_end: false,
        }
    }

    /// Whether another process holds the stream open: it was given up, or is not read any more, before its end.
    pub(crate) fn is_held(&self) -> bool {
        !self.is_at_end
    }

    pub(crate) fn into_inner(self) -> R {
        self.reader
    }

    /// Returns the next output, or `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        let read = self.read().await?.unwrap_or(0);
        if read == 0 {
            self.is_at_end = true;
            return None;
        }
        if read >= self.capacity {
            self.capacity = LARGE;
        }
        if let Some((_, bytes)) = &mut self.after_exit {
            *bytes += read;
        }
        Some(self.buffer.split().freeze())
    }

    /// Returns 0 at the end, and `None` if another process holds the stream open for too long. A terminal whose last
    /// process has ended fails with EIO.
    async fn read(&mut self) -> Option<io::Result<usize>> {
        self.buffer.reserve(self.capacity);
        // What is reserved may be more.
        let mut room = (&mut self.buffer).limit(self.capacity);
        if self.after_exit.is_none() {
            tokio::select! {
                // `exited` comes first, because a stream may always be ready.
                biased;
                () = self.end.exited.cancelled() => self.after_exit = Some((Instant::now(), 0)),
                read = self.reader.read_buf(&mut room) => return Some(read),
            }
        }
        let wait = match self.after_exit {
            Some((exit, _)) if exit.elapsed() <= self.end.grace * MAX_GRACES => self.end.grace,
            Some((_, bytes)) if bytes > MAX_PIPE => return None,
            // Only what is there already.
            _ => Duration::ZERO,
        };
        tokio::time::timeout(wait, self.reader.read_buf(&mut room))
            .await
            .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    const GRACE: Duration = Duration::from_secs(1);

    /// Reads to the end. Returns the number of bytes, and whether the stream is held open.
    async fn drain(reader: impl AsyncRead + Unpin, grace: Duration) -> (usize, bool) {
        let exited = CancellationToken::new();
        exited.cancel();
        let end = OutputEnd {
            exited: &exited,
            grace,
        };
        let mut reader = OutputReader::new(reader, end);
        let mut total = 0;
        while let Some(data) = reader.next().await {
            total += data.len();
        }
        (total, reader.is_held())
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipe_that_is_held_open_is_read_until_it_is_empty() {
        for grace in [GRACE, Duration::ZERO] {
            let (mut writer, pipe) = tokio::io::duplex(100_000);
            writer.write_all(&[1; 100_000]).await.unwrap();
            assert_eq!(drain(pipe, grace).await, (100_000, true));
            drop(writer);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_written_within_the_grace_arrives() {
        let (mut writer, pipe) = tokio::io::duplex(10);
        let writing = async move {
            for _ in 0..5 {
                tokio::time::sleep(GRACE * 9 / 10).await;
                writer.write_all(b"late").await.unwrap();
            }
        };
        let (drained, ()) = tokio::join!(drain(pipe, GRACE), writing);
        assert_eq!(drained, (20, false), "the pipe was closed in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_of_the_pipe_is_not_waited_for() {
        let begun = Instant::now();
        assert_eq!(drain(&b"all"[..], GRACE).await, (3, false));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_background_process_that_never_stops_writing_is_abandoned() {
        // One that writes a little at a time.
        let (mut writer, pipe) = tokio::io::duplex(10);
        let begun = Instant::now();
        let trickling = async move {
            while writer.write_all(b"y").await.is_ok() {
                tokio::time::sleep(GRACE / 2).await;
            }
        };
        let ((_, held), ()) = tokio::join!(drain(pipe, GRACE), trickling);
        assert!(held && begun.elapsed() < GRACE * (MAX_GRACES + 2));

        // One that fills the pipe.
        let exited = CancellationToken::new();
        exited.cancel();
        let end = OutputEnd {
            exited: &exited,
            grace: GRACE,
        };
        let mut reader = OutputReader::new(tokio::io::repeat(b'y'), end);
        while reader.next().await.is_some() {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert!(reader.is_held());
    }
}
