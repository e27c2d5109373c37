//! Writes the entries of a tree into a local directory. Everything that the server sends is
//! untrusted.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sandbox_core::tree_stream::{Attributes, Failure, Frame, Position, take_frame};
use sandbox_core::{Direction, Error, FileInfo, FileKind, FilePath, Result, metrics};
use tokio::sync::mpsc;

use super::Subject;
use super::budget::Budget;
use super::incoming_file::IncomingFile;
use crate::transfer::failures::Failures;
use crate::transfer::file::local_error;
use crate::transfer::progress::Meter;
use crate::transfer::report::{Skipped, TreeReport};
use crate::transfer::tree::local_dir::{self, Temporary};

const DOWNLOAD: Direction = Direction::Download;

/// What arrives from the server.
pub(super) enum Received {
    Part(BytesMut),
    /// Nothing follows, for this reason.
    Ended(Error),
}

/// Writes a tree. All methods block.
pub(super) struct LocalSink {
    /// The path of the top, for messages.
    path: PathBuf,
    /// Present once the top directory was entered.
    top: Option<Arc<Dir>>,
    subject: Arc<Subject>,
    meter: Arc<Meter>,
    budget: Budget,
    position: Position,
    /// The directories that are entered and that were created, with the top.
    entered: Vec<Entered>,
    /// Directories that were entered in one that was refused, with that one.
    refused: u64,
    file: Option<IncomingFile>,
    failures: Failures,
    report: TreeReport,
}

/// A directory that is being filled.
struct Entered {
    name: FilePath,
    /// `None` for a top directory that existed: it may be the home directory.
    info: Option<FileInfo>,
}

impl LocalSink {
    pub(super) fn new(
        local: &Path,
        budget: Budget,
        subject: Arc<Subject>,
        meter: Arc<Meter>,
    ) -> Self {
        Self {
            path: local.to_owned(),
            top: None,
            subject,
            meter,
            budget,
            position: Position::default(),
            entered: Vec::new(),
            refused: 0,
            file: None,
            failures: Failures::default(),
            report: TreeReport::default(),
        }
    }

    /// Writes what arrives, to the end of the tree. After a failure, the directories get their
    /// attributes all the same; not if the receiver is dropped.
    pub(super) fn write(mut self, mut parts: mpsc::Receiver<Received>) -> Result<TreeReport> {
        let mut received = BytesMut::new();
        while let Some(part) = parts.blocking_recv() {
            let written = match part {
                Received::Part(part) if received.is_empty() => {
                    received = part;
                    self.write_frames(&mut received)
                }
                Received::Part(part) => {
                    received.extend_from_slice(&part);
                    self.write_frames(&mut received)
                }
                Received::Ended(error) => Err(error),
            };
            if let Err(error) = written {
                self.leave_all();
                return Err(error);
            }
            if self.position.is_ended() {
                if !received.is_empty() {
                    return Err(self.subject.violation_error("something follows its end"));
                }
                self.failures.move_to(&mut self.report);
                return Ok(self.report);
            }
        }
        Err(self.subject.stream_error(io::ErrorKind::Interrupted.into()))
    }

    fn write_frames(&mut self, received: &mut BytesMut) -> Result<()> {
        let malformed = |subject: &Subject, error| Err(subject.malformed_error(error));
        while !self.position.is_ended() {
            let frame = match take_frame(received) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => return malformed(&self.subject, error),
            };
            match Frame::parse(&frame) {
                Ok(frame) => self.accept(&frame)?,
                Err(error) => return malformed(&self.subject, error),
            }
        }
        Ok(())
    }

    fn accept(&mut self, frame: &Frame<'_>) -> Result<()> {
        if let Frame::GivenUp(failure) = frame {
            return Err(self.subject.failure_error(&FilePath::default(), failure));
        }
        let moved = self.position.advance(frame);
        moved.map_err(|error| self.subject.malformed_error(error))?;
        self.budget.take(frame, &self.position, &self.subject)?;
        match frame {
            Frame::Directory {
                name: b"",
                attributes,
            } => self.enter_top(*attributes),
            Frame::Directory { name, attributes } => self.enter(name, *attributes),
            Frame::Leave => self.leave(),
            Frame::File {
                name,
                attributes,
                is_whole,
                content,
                ..
            } if self.refused == 0 => {
                let info = to_info(FileKind::File, *attributes, 0o644);
                self.begin_file(name, info, content, *is_whole)
            }
            Frame::Content(content) => self.write_content(content),
            Frame::FileEnd => self.finish_file(),
            Frame::FileAborted(failure) => self.abort_file(failure),
            Frame::Link { name, target } if self.refused == 0 => {
                self.create_link(self.name_of(name), &FilePath::from(*target))
            }
            Frame::Skipped { name } if self.refused == 0 => {
                let name = self.name_of(name);
                self.skip(name, "a device, a FIFO or a socket")
            }
            Frame::Failed { name, failure } if self.refused == 0 => {
                let name = self.name_of(name);
                let error = self.subject.failure_error(&name, failure);
                self.failures.record(&name, error)
            }
            // They are in a directory that could not be created, which stands for them.
            Frame::File { .. }
            | Frame::Link { .. }
            | Frame::Skipped { .. }
            | Frame::Failed { .. } => Ok(()),
            Frame::End => Ok(()),
            // The position accepts none of these.
            Frame::Receive { .. }
            | Frame::Send { .. }
            | Frame::Counted { .. }
            | Frame::Taken { .. }
            | Frame::Ignored { .. }
            | Frame::Refused(_)
            | Frame::Finished
            | Frame::GivenUp(_) => Ok(()),
        }
    }

    /// Returns the name of an entry of the current directory, relative to the top. An empty one is
    /// the directory itself.
    fn name_of(&self, name: &[u8]) -> FilePath {
        let directory = self.entered.last().map(|entered| &entered.name);
        match directory {
            Some(directory) if name.is_empty() => directory.clone(),
            Some(directory) => directory.join(name),
            None => FilePath::from(name),
        }
    }

    /// Creates the top directory with its parents. One that exists keeps its attributes.
    fn enter_top(&mut self, attributes: Attributes) -> Result<()> {
        let failed = |source| local_error(DOWNLOAD, &self.path, source);
        let is_new = !self.path.exists();
        std::fs::create_dir_all(&self.path).map_err(failed)?;
        let top = Dir::open_ambient_dir(&self.path, ambient_authority()).map_err(failed)?;
        self.top = Some(Arc::new(top));
        self.report.directories += 1;
        self.entered.push(Entered {
            name: FilePath::default(),
            info: is_new.then(|| to_info(FileKind::Directory, attributes, 0o755)),
        });
        Ok(())
    }

    fn enter(&mut self, name: &[u8], attributes: Attributes) -> Result<()> {
        if self.refused > 0 {
            self.refused += 1;
            return Ok(());
        }
        let name = self.name_of(name);
        let info = to_info(FileKind::Directory, attributes, 0o755);
        let created = self
            .top()
            .and_then(|top| local_dir::create_directory(top, &name, &info));
        if let Err(error) = created {
            self.refused = 1;
            return self.record(&name, error);
        }
        self.report.directories += 1;
        self.entered.push(Entered {
            name,
            info: Some(info),
        });
        Ok(())
    }

    /// Sets the attributes of the current directory, which its content needs to be complete for.
    fn leave(&mut self) -> Result<()> {
        if self.refused > 0 {
            self.refused -= 1;
            return Ok(());
        }
        let Some(Entered {
            name,
            info: Some(info),
        }) = self.entered.pop()
        else {
            return Ok(());
        };
        let finished = self
            .top()
            .and_then(|top| local_dir::finish_directory(top, &name, &info));
        finished.or_else(|error| self.record(&name, error))
    }

    fn leave_all(&mut self) {
        self.refused = 0;
        self.file = None;
        while !self.entered.is_empty() {
            if let Err(error) = self.leave() {
                tracing::debug!(%error, "attributes of a directory not set");
            }
        }
    }

    fn begin_file(
        &mut self,
        name: &[u8],
        info: FileInfo,
        content: &[u8],
        is_whole: bool,
    ) -> Result<()> {
        let name = self.name_of(name);
        let measured = metrics::start_transfer(DOWNLOAD);
        match self.top().and_then(|top| Temporary::create(top, &name)) {
            Ok(temporary) => {
                self.file = Some(IncomingFile::new(temporary, name, info, measured));
                self.write_content(content)?;
            }
            Err(error) => return self.record_file(&name, measured, error),
        }
        if is_whole { self.finish_file() } else { Ok(()) }
    }

    fn write_content(&mut self, content: &[u8]) -> Result<()> {
        match self.file.as_mut().map(|file| file.write(content)) {
            Some(Ok(())) => {
                self.meter.add_bytes(content.len() as u64);
                Ok(())
            }
            Some(Err(error)) => match self.file.take() {
                Some(file) => self.record_file(&file.name, file.measured, error),
                None => Ok(()),
            },
            // It could not be written, which is recorded.
            None => Ok(()),
        }
    }

    fn finish_file(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        match file.temporary.finish(&file.info, &file.name) {
            Ok(()) => {
                self.report.files += 1;
                self.report.bytes += file.size;
                self.meter.add_file();
                file.measured.finish_transfer(&Ok(file.size));
                Ok(())
            }
            Err(error) => self.record_file(&file.name, file.measured, error),
        }
    }

    /// Removes the current file, whose rest the server cannot read.
    fn abort_file(&mut self, failure: &Failure<'_>) -> Result<()> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let error = self.subject.failure_error(&file.name, failure);
        self.finish_measured(&file.name, file.measured, error)
    }

    fn create_link(&mut self, name: FilePath, target: &FilePath) -> Result<()> {
        if local_dir::escapes(&name, target) {
            return self.skip(name, "a link that leads out of the directory");
        }
        let created = self
            .top()
            .and_then(|top| local_dir::create_link(top, target, &name));
        match created {
            Ok(()) => {
                self.report.symlinks += 1;
                Ok(())
            }
            Err(error) => self.record(&name, error),
        }
    }

    fn skip(&mut self, name: FilePath, reason: &'static str) -> Result<()> {
        self.budget.take_name(&name, &self.subject)?;
        self.report.skipped.push(Skipped { path: name, reason });
        Ok(())
    }

    fn top(&self) -> io::Result<&Arc<Dir>> {
        // The position accepts nothing before the top.
        self.top
            .as_ref()
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn record(&self, name: &FilePath, error: io::Error) -> Result<()> {
        self.failures.record(name, self.failed(name, error))
    }

    fn record_file(
        &self,
        name: &FilePath,
        measured: metrics::Operation,
        error: io::Error,
    ) -> Result<()> {
        self.finish_measured(name, measured, self.failed(name, error))
    }

    fn finish_measured(
        &self,
        name: &FilePath,
        measured: metrics::Operation,
        error: Error,
    ) -> Result<()> {
        let failed = Err(error);
        measured.finish_transfer(&failed);
        failed.or_else(|error| self.failures.record(name, error).map(|()| 0))?;
        Ok(())
    }

    fn failed(&self, name: &FilePath, error: io::Error) -> Error {
        let shown = FilePath::from(&*self.path).join(name);
        local_error(DOWNLOAD, shown.as_path().unwrap_or(&self.path), error)
    }
}

/// The attributes as those of a listing. The system of the server has modes; another one may not.
fn to_info(kind: FileKind, attributes: Attributes, default_mode: u32) -> FileInfo {
    let mode = attributes.mode.unwrap_or(default_mode);
    FileInfo::new(FilePath::default(), kind, 0, mode, attributes.modified)
}
