//! Directory trees as one stream of entries, which only the SDK's own client uses (see
//! [`tree_stream`](sandbox_core::tree_stream)).
//!
//! Files are written and read as by the SFTP subsystem: by the same user, with the same names for
//! temporary files.

mod confirmations;
mod count;
mod directories;
mod file_content;
mod problem;
mod receive;
mod send;
mod temporary;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use sandbox_core::Direction;
use sandbox_core::tree_stream::{Frame, VERSION, take_frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use self::problem::Problem;
use self::send::{Limits, Stop};
use crate::channel::input::InputReader;
use crate::channel::io::{ChannelIo, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit};

/// Serves the copy of one tree. It has a thread of its own, as an SFTP session.
pub(crate) async fn serve(home: PathBuf, channel: ChannelIo) -> Result<(), ChannelClosed> {
    let ChannelIo {
        input,
        output,
        control: _control,
    } = channel;
    let closed = input.closed_token();
    let mut writer = output.stdout_writer(closed.clone());
    let thread = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(async {
            let served = copy(Frames::new(input), &mut writer, home).await;
            if let Err(error) = &served {
                // The client may have closed the channel, and then does not need to know.
                tracing::debug!(%error, "tree not copied");
                let problem = Problem::new(Direction::Inside, error);
                give_up(&mut writer, &problem).await.ok();
            }
            served
        })
    });
    let code = match thread.await {
        Ok(Ok(())) => 0,
        Ok(Err(_)) => 1,
        Err(error) => {
            tracing::error!(%error, "copy of a tree panicked");
            1
        }
    };
    send_unless_closed(&closed, output.finish(Some(Exit::Code(code)))).await
}

/// Copies the tree in the direction that the first frame names.
async fn copy(
    mut frames: Frames,
    writer: &mut (impl AsyncWrite + Unpin),
    home: PathBuf,
) -> io::Result<()> {
    let Some(first) = frames.next().await? else {
        return Ok(());
    };
    match Frame::parse(&first)? {
        Frame::Receive { version, path } if version == VERSION => {
            let top = home.join(to_path(path));
            receive::receive(frames, writer, top).await
        }
        Frame::Send {
            version,
            entries,
            bytes,
            depth,
            path,
        } if version == VERSION => {
            let limits = Limits {
                entries,
                bytes,
                depth,
            };
            match send::send(writer, &home.join(to_path(path)), limits).await {
                Ok(()) => Ok(()),
                Err(Stop::Problem(problem)) => give_up(writer, &problem).await,
                Err(Stop::Closed(error)) => Err(error),
            }
        }
        _ => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "this server has no such version of the stream of a tree",
        )),
    }
}

async fn give_up(writer: &mut (impl AsyncWrite + Unpin), problem: &Problem) -> io::Result<()> {
    let mut frame = Vec::new();
    Frame::GivenUp(problem.as_failure()).encode(&mut frame);
    writer.write_all(&frame).await?;
    writer.flush().await
}

fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The frames that a client sends.
struct Frames {
    input: InputReader,
    received: BytesMut,
}

impl Frames {
    fn new(input: InputReader) -> Self {
        Self {
            input,
            received: BytesMut::new(),
        }
    }

    /// Returns the next frame if it has arrived.
    fn try_next(&mut self) -> io::Result<Option<Bytes>> {
        Ok(take_frame(&mut self.received)?)
    }

    /// Receives more without waiting. Returns whether there was more.
    async fn receive_ready(&mut self) -> io::Result<bool> {
        tokio::select! {
            biased;
            more = self.input.next() => Ok(self.add(more?)),
            () = std::future::ready(()) => Ok(false),
        }
    }

    /// Waits for the next frame; `None` at the end of the input.
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            if let Some(frame) = self.try_next()? {
                return Ok(Some(frame));
            }
            let more = self.input.next().await?;
            if !self.add(more) {
                return Ok(None);
            }
        }
    }

    fn add(&mut self, more: Option<Bytes>) -> bool {
        let Some(data) = more else { return false };
        self.received.extend_from_slice(&data);
        true
    }
}
