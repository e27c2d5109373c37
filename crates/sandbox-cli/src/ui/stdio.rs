//! Standard streams of this program, also if they are non-blocking.
//!
//! The program that started this one may share them, for example a Node.js program that passes its own
//! pipes on. So the flag is left as it is, and a stream that is not ready is waited for.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// The most bytes of stdin that are read at once.
pub(crate) const INPUT_PIECE: usize = 64 << 10;

/// Standard input.
pub(crate) struct Stdin;

/// Standard output, which the standard library buffers by lines.
pub(crate) struct Stdout;

/// Standard error.
pub(crate) struct Stderr;

impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match io::stdin().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    system::wait_readable(&io::stdin())?;
                }
                read => return read,
            }
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match io::stdout().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    system::wait_writable(&io::stdout())?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        loop {
            match io::stdout().flush() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    system::wait_writable(&io::stdout())?;
                }
                flushed => return flushed,
            }
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match io::stderr().write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    system::wait_writable(&io::stderr())?;
                }
                written => return written,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        // The standard library does not buffer it.
        Ok(())
    }
}

/// Standard input for asynchronous readers. A read that is dropped still takes its bytes.
#[derive(Default)]
pub(crate) struct AsyncStdin {
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
    rest: io::Cursor<Vec<u8>>,
}

impl AsyncRead for AsyncStdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.rest.position() == this.rest.get_ref().len() as u64 {
            let reading = this.reading.get_or_insert_with(|| {
                spawn_blocking(|| {
                    let mut piece = vec![0; INPUT_PIECE];
                    let length = Stdin.read(&mut piece)?;
                    piece.truncate(length);
                    Ok(piece)
                })
            });
            let read = ready!(Pin::new(reading).poll(cx));
            this.reading = None;
            this.rest = io::Cursor::new(read.map_err(io::Error::other)??);
        }
        Pin::new(&mut this.rest).poll_read(cx, buffer)
    }
}

/// Standard output for asynchronous writers. What was written has arrived once it is flushed.
#[derive(Default)]
pub(crate) struct AsyncStdout {
    writing: Option<JoinHandle<io::Result<()>>>,
}

impl AsyncStdout {
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(writing) = &mut self.writing else {
            return Poll::Ready(Ok(()));
        };
        let written = ready!(Pin::new(writing).poll(cx));
        self.writing = None;
        Poll::Ready(written.map_err(io::Error::other)?)
    }
}

impl AsyncWrite for AsyncStdout {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_written(cx))?;
        let piece = bytes.to_vec();
        let length = piece.len();
        self.writing = Some(spawn_blocking(move || {
            Stdout.write_all(&piece)?;
            Stdout.flush()
        }));
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_written(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(unix)]
mod system {
    use std::io;
    use std::os::fd::AsFd;

    use rustix::event::{PollFd, PollFlags, poll};

    pub(super) fn wait_readable(stream: &impl AsFd) -> io::Result<()> {
        wait(stream, PollFlags::IN)
    }

    pub(super) fn wait_writable(stream: &impl AsFd) -> io::Result<()> {
        wait(stream, PollFlags::OUT)
    }

    fn wait(stream: &impl AsFd, events: PollFlags) -> io::Result<()> {
        match poll(&mut [PollFd::new(stream, events)], None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
mod system {
    use std::io;

    // The standard streams of other systems do not have the flag.
    pub(super) fn wait_readable(_: &io::Stdin) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    pub(super) fn wait_writable<T>(_: &T) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }
}
