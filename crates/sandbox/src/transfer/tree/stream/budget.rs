//! How much a server may still send of a tree.

use sandbox_core::tree_stream::{Frame, Position, UNKNOWN_SIZE};
use sandbox_core::{Direction, Error, FilePath, ListBudget, Result, TransferReason};

use super::Subject;
use crate::transfer::limits::{MAX_GENERATED, TreeLimits};

/// How much a server may still send of a tree.
pub(super) struct Budget {
    limits: TreeLimits,
    entries: u64,
    bytes: u64,
    /// Failures of directories, which are no entries.
    unlisted: u64,
    /// What the current file may still have, if its size is not known.
    generated: u64,
    /// The names that stay in memory.
    names: ListBudget,
}

impl Budget {
    pub(super) fn new(limits: TreeLimits) -> Self {
        Self {
            limits,
            entries: limits.entries,
            bytes: limits.bytes,
            // Each directory can have one, and so can the top.
            unlisted: limits.entries.saturating_add(1),
            generated: 0,
            names: ListBudget::default(),
        }
    }

    /// Checks what the server has counted.
    pub(super) fn check_count(&self, entries: u64, bytes: u64, subject: &Subject) -> Result<()> {
        if entries > self.limits.entries {
            return Err(ListBudget::exceeded_error(&subject.remote));
        }
        if bytes > self.limits.bytes {
            return Err(too_large_error(subject, TOO_MANY_BYTES));
        }
        Ok(())
    }

    /// Takes a frame out of the budget. The position is the one after it.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](TransferReason::TooLarge): the server has sent more than it counted and than the
    /// limits allow.
    pub(super) fn take(
        &mut self,
        frame: &Frame<'_>,
        position: &Position,
        subject: &Subject,
    ) -> Result<()> {
        match frame {
            Frame::Directory { name: b"", .. } => Ok(()),
            Frame::Directory { .. } if position.depth() > self.limits.depth as u64 => Err(
                too_large_error(subject, "directories are nested deeper than the limit"),
            ),
            Frame::Failed { name: b"", .. } => match self.unlisted.checked_sub(1) {
                Some(left) => {
                    self.unlisted = left;
                    Ok(())
                }
                None => Err(ListBudget::exceeded_error(&subject.remote)),
            },
            Frame::Directory { .. } | Frame::Link { .. } | Frame::Failed { .. } => {
                self.take_entry(subject)
            }
            Frame::Skipped { .. } => self.take_entry(subject),
            Frame::File { size, content, .. } => {
                self.take_entry(subject)?;
                if *size != UNKNOWN_SIZE && *size > self.bytes {
                    return Err(too_large_error(subject, TOO_MANY_BYTES));
                }
                self.generated = match *size {
                    UNKNOWN_SIZE => MAX_GENERATED,
                    size => size,
                };
                self.take_content(content, subject)
            }
            Frame::Content(content) => self.take_content(content, subject),
            Frame::Leave | Frame::FileEnd | Frame::FileAborted(_) | Frame::End => Ok(()),
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

    /// Takes a name that stays in memory.
    pub(super) fn take_name(&self, name: &FilePath, subject: &Subject) -> Result<()> {
        if self.names.take(0, name.len() as u64) {
            Ok(())
        } else {
            let what = "the names have more bytes than the limit";
            Err(too_large_error(subject, what))
        }
    }

    fn take_entry(&mut self, subject: &Subject) -> Result<()> {
        match self.entries.checked_sub(1) {
            Some(left) => {
                self.entries = left;
                Ok(())
            }
            None => Err(ListBudget::exceeded_error(&subject.remote)),
        }
    }

    fn take_content(&mut self, content: &[u8], subject: &Subject) -> Result<()> {
        let length = content.len() as u64;
        let left = self.bytes.checked_sub(length);
        match left.zip(self.generated.checked_sub(length)) {
            Some((bytes, generated)) => {
                (self.bytes, self.generated) = (bytes, generated);
                Ok(())
            }
            None => Err(too_large_error(subject, TOO_MANY_BYTES)),
        }
    }
}

const TOO_MANY_BYTES: &str = "the files have more bytes than the limit";

fn too_large_error(subject: &Subject, what: &str) -> Error {
    let path = &subject.remote;
    Error::transfer(
        Direction::Download,
        path,
        TransferReason::TooLarge,
        what,
        None,
    )
}
