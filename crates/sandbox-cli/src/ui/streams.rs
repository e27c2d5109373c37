//! Reads stdin and writes stdout and stderr on threads of their own, so that a pager that does not
//! read, or a terminal where no key is pressed, blocks neither signals nor the connection.

use std::io::{self, Read, Write};
use std::thread;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

use super::questions::hold_terminal;
use super::stdio::{INPUT_PIECE, Stderr, Stdin, Stdout};

/// How many pieces of output may wait for a slow reader.
const MAX_PENDING: usize = 16;

/// A piece of a command's output.
pub(crate) enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// Writes a command's output in the order in which it arrives.
pub(crate) struct Output {
    pieces: mpsc::Sender<Piece>,
    end: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    /// Starts the thread that writes.
    pub(crate) fn start() -> Self {
        let (pieces, mut receiver) = mpsc::channel(MAX_PENDING);
        let (ended, end) = oneshot::channel();
        thread::spawn(move || {
            let result = write_all(&mut receiver);
            // The channel is closed before the result is sent: pieces that still arrive are
            // refused.
            drop(receiver);
            // The receiver is dropped if the program is about to exit.
            let _dropped = ended.send(result);
        });
        Self { pieces, end }
    }

    /// Waits until a piece can be sent; `None` if nothing can be written any more. Dropping the
    /// future loses nothing.
    pub(crate) async fn reserve(&self) -> Option<mpsc::Permit<'_, Piece>> {
        self.pieces.reserve().await.ok()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// The first error of a write; `BrokenPipe` if the reader closed the pipe.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        self.end.await.unwrap_or_else(|_| {
            Err(io::Error::other(
                "the thread that writes the output ended early",
            ))
        })
    }
}

fn write_all(pieces: &mut mpsc::Receiver<Piece>) -> io::Result<()> {
    while let Some(piece) = pieces.blocking_recv() {
        let _held = hold_terminal();
        match piece {
            Piece::Stdout(bytes) => {
                Stdout.write_all(&bytes)?;
                Stdout.flush()?;
            }
            Piece::Stderr(bytes) => Stderr.write_all(&bytes)?,
        }
    }
    Ok(())
}

/// Why forwarding stdin to a command ended.
pub(crate) enum InputEnd {
    /// Stdin ended.
    Eof,
    /// The command has closed its input.
    Closed,
}

/// Copies stdin to a command until one of them ends. The input of a command in a terminal can only
/// be ended with the key Ctrl-D, which is sent here as if it were typed.
///
/// # Errors
///
/// If stdin cannot be read.
pub(crate) async fn forward_stdin(
    mut command: sandbox::ProcessStdin,
    tty: bool,
) -> io::Result<InputEnd> {
    const CTRL_D: u8 = 4;
    let mut pieces = read_stdin();
    let mut last = b'\n';
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        last = piece.last().copied().unwrap_or(last);
        if command.write_all(&piece).await.is_err() {
            return Ok(InputEnd::Closed);
        }
    }
    // After an incomplete line, the first Ctrl-D only flushes the line.
    let keys = if last == b'\n' {
        &[CTRL_D][..]
    } else {
        &[CTRL_D; 2]
    };
    if tty && command.write_all(keys).await.is_err() {
        return Ok(InputEnd::Closed);
    }
    match command.shutdown().await {
        Ok(()) => Ok(InputEnd::Eof),
        Err(_closed) => Ok(InputEnd::Closed),
    }
}

fn read_stdin() -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut buffer = vec![0; INPUT_PIECE];
        loop {
            let piece = match Stdin.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let failed = piece.is_err();
            if sender.blocking_send(piece).is_err() || failed {
                return;
            }
        }
    });
    receiver
}
