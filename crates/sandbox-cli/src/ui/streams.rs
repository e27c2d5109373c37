//! Standard input, output and error, each on a thread of its own: a pager that does not read
//! or a terminal where nobody types holds up neither signals nor the connection.

use std::io::{self, Read, Write};
use std::thread;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, oneshot};

/// Pieces that wait for a slow reader of our output.
const PIECES: usize = 16;
const INPUT_PIECE: usize = 64 << 10;

/// A piece of a command's output.
pub(crate) enum Piece {
    Stdout(Bytes),
    Stderr(Bytes),
}

/// Writes a command's output, in the order it came.
pub(crate) struct Output {
    pieces: mpsc::Sender<Piece>,
    end: oneshot::Receiver<io::Result<()>>,
}

impl Output {
    pub(crate) fn start() -> Self {
        let (pieces, mut waiting) = mpsc::channel(PIECES);
        let (ended, end) = oneshot::channel();
        thread::spawn(move || {
            let result = write_all(&mut waiting);
            // Refuse what still comes before saying why.
            drop(waiting);
            // Nobody asks when the program is about to end.
            let _unasked = ended.send(result);
        });
        Self { pieces, end }
    }

    /// Waits for room for a piece; `None` when nothing can be written any more. Dropping the
    /// future loses nothing.
    pub(crate) async fn room(&self) -> Option<mpsc::Permit<'_, Piece>> {
        self.pieces.reserve().await.ok()
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    ///
    /// The first failure to write; `BrokenPipe` when the reader went away.
    pub(crate) async fn finish(self) -> io::Result<()> {
        drop(self.pieces);
        self.end
            .await
            .unwrap_or_else(|_| Err(io::Error::other("the writer of the output ended early")))
    }
}

fn write_all(pieces: &mut mpsc::Receiver<Piece>) -> io::Result<()> {
    // The log is written to stderr too: whoever held its lock while waiting for a piece would stop
    // everything at the next line of it.
    let (mut stdout, mut stderr) = (io::stdout().lock(), io::stderr());
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Stdout(bytes) => {
                stdout.write_all(&bytes)?;
                stdout.flush()?;
            }
            Piece::Stderr(bytes) => stderr.write_all(&bytes)?,
        }
    }
    Ok(())
}

/// How a command's input came to its end.
pub(crate) enum InputEnd {
    /// Standard input is at its end.
    Reached,
    /// The command takes no more.
    Refused,
}

/// Copies standard input to a command until the end of either. A command in a terminal learns
/// of the end by the key for it, Control-D, as from a person: there is no other way.
///
/// # Errors
///
/// When standard input cannot be read.
pub(crate) async fn feed(mut command: sandbox::ProcessStdin, tty: bool) -> io::Result<InputEnd> {
    const END_KEY: u8 = 4;
    let mut pieces = read_stdin();
    let mut last = b'\n';
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        last = piece.last().copied().unwrap_or(last);
        if command.write_all(&piece).await.is_err() {
            return Ok(InputEnd::Refused);
        }
    }
    // Within a line, the first key only ends the line.
    let keys = if last == b'\n' {
        &[END_KEY][..]
    } else {
        &[END_KEY; 2]
    };
    if tty && command.write_all(keys).await.is_err() {
        return Ok(InputEnd::Refused);
    }
    match command.shutdown().await {
        Ok(()) => Ok(InputEnd::Reached),
        Err(_closed) => Ok(InputEnd::Refused),
    }
}

fn read_stdin() -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(1);
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut buffer = vec![0; INPUT_PIECE];
        loop {
            let piece = match stdin.read(&mut buffer) {
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
