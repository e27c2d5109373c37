//! Receives a tree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use sandbox_core::tree_stream::{Attributes, Frame, MalformedFrame, Position};
use sandbox_core::{Direction, TransferReason};
use tokio::io::AsyncWrite;

use super::confirmations::{Confirmations, Outcome};
use super::directories::Directories;
use super::problem::Problem;
use super::temporary::Temporary;
use super::{Frames, to_path};

/// Receives a tree at this path.
///
/// # Errors
///
/// If the channel is closed before the end of the tree, or if the client violates the protocol.
pub(super) async fn receive(
    mut frames: Frames,
    writer: &mut (impl AsyncWrite + Unpin),
    top: PathBuf,
) -> io::Result<()> {
    let mut receiver = Receiver::new(top);
    let mut confirmations = Confirmations::default();
    loop {
        let frame = match frames.try_next()? {
            Some(frame) => frame,
            None if frames.receive_ready().await? => continue,
            None => {
                confirmations.send(writer).await?;
                match frames.next().await? {
                    Some(frame) => frame,
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        let outcome = receiver.accept(&Frame::parse(&frame)?)?;
        confirmations.add_bytes(frame.len() + 4);
        confirmations.add(&outcome);
        if receiver.is_complete() {
            return confirmations.finish(writer).await;
        }
        if matches!(&outcome, Outcome::Refused(problem) if problem.reason == TransferReason::NoSpace)
        {
            // The client gives up.
            receiver.directories.leave_all();
            return confirmations.send(writer).await;
        }
        if confirmations.is_due() {
            confirmations.send(writer).await?;
        }
    }
}

/// Writes the entries of a tree. Its methods block.
struct Receiver {
    top: PathBuf,
    position: Position,
    directories: Directories,
    /// The file whose content is not complete; `None` also if it was refused.
    file: Option<Temporary>,
    /// The current file was reported as refused.
    is_file_refused: bool,
}

impl Receiver {
    fn new(top: PathBuf) -> Self {
        Self {
            top,
            position: Position::default(),
            directories: Directories::new(),
            file: None,
            is_file_refused: false,
        }
    }

    fn is_complete(&self) -> bool {
        self.position.is_ended()
    }

    /// Writes what a frame contains.
    fn accept(&mut self, frame: &Frame<'_>) -> Result<Outcome, MalformedFrame> {
        self.position.advance(frame)?;
        Ok(match frame {
            Frame::Directory {
                name: b"",
                attributes,
            } => self.directories.enter_top(self.top.clone(), *attributes),
            Frame::Directory { name, attributes } => self.directories.enter(name, *attributes),
            Frame::Leave => self.directories.leave(),
            Frame::File {
                name,
                attributes,
                is_whole,
                content,
                ..
            } => {
                let begun = self.begin_file(name, *attributes, content);
                match (begun, is_whole) {
                    (Outcome::Pending, true) => self.finish_file(),
                    (Outcome::Ignored, false) => Outcome::Pending,
                    (begun, _) => begun,
                }
            }
            Frame::Content(content) => self.write(content),
            Frame::FileEnd => self.finish_file(),
            Frame::FileAborted(_) => {
                self.file = None;
                if self.is_file_refused {
                    Outcome::Pending
                } else {
                    Outcome::Ignored
                }
            }
            Frame::Link { name, target } => self.create_link(name, target),
            // What this client could not read, it reports itself.
            Frame::Skipped { .. } | Frame::Failed { .. } | Frame::End => Outcome::Pending,
            // The position accepts none of these.
            Frame::Receive { .. }
            | Frame::Send { .. }
            | Frame::Counted { .. }
            | Frame::Taken { .. }
            | Frame::Ignored { .. }
            | Frame::Refused(_)
            | Frame::Finished
            | Frame::GivenUp(_) => Outcome::Pending,
        })
    }

    fn begin_file(&mut self, name: &[u8], attributes: Attributes, content: &[u8]) -> Outcome {
        self.is_file_refused = false;
        let Some(directory) = self.directories.current() else {
            return Outcome::Ignored;
        };
        match Temporary::create(&directory.path, name, directory.is_new, attributes) {
            Ok(file) => {
                self.file = Some(file);
                self.write(content)
            }
            Err(problem) => self.refuse_file(problem),
        }
    }

    fn write(&mut self, content: &[u8]) -> Outcome {
        match self.file.as_mut().map(|file| file.write(content)) {
            Some(Err(problem)) => self.refuse_file(problem),
            Some(Ok(())) | None => Outcome::Pending,
        }
    }

    fn refuse_file(&mut self, problem: Problem) -> Outcome {
        self.file = None;
        self.is_file_refused = true;
        Outcome::Refused(problem)
    }

    fn finish_file(&mut self) -> Outcome {
        match self.file.take().map(Temporary::finish) {
            Some(Ok(())) => Outcome::Written,
            Some(Err(problem)) => Outcome::Refused(problem),
            None if self.is_file_refused => Outcome::Pending,
            None => Outcome::Ignored,
        }
    }

    fn create_link(&self, name: &[u8], target: &[u8]) -> Outcome {
        let Some(directory) = self.directories.current() else {
            return Outcome::Ignored;
        };
        match replace_with_link(target, &directory.path.join(to_path(name))) {
            Ok(()) => Outcome::Written,
            Err(error) => Outcome::Refused(Problem::new(Direction::Inside, &error)),
        }
    }
}

/// Creates a symbolic link, and replaces an existing file or link.
fn replace_with_link(target: &[u8], path: &Path) -> io::Result<()> {
    let target = OsStr::from_bytes(target);
    match symlink(target, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::remove_file(path)?;
            symlink(target, path)
        }
        created => created,
    }
}
