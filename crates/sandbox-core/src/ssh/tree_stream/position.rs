//! Where a receiver is in a stream, so that each frame is accepted only where it may be.

use super::{Frame, MalformedFrame, UNKNOWN_SIZE};

/// The position in the entries of a stream. A receiver passes each frame through
/// [`advance`](Self::advance) before it acts on it.
#[derive(Debug, Default)]
pub struct Position {
    stage: Stage,
    /// Directories that were entered and not left, with the top.
    depth: u64,
}

#[derive(Debug, Default, Clone, Copy)]
enum Stage {
    #[default]
    BeforeTop,
    InDirectory,
    /// So many bytes of the content are still announced; `None` if they were not announced.
    InFile(Option<u64>),
    /// The top is complete.
    AfterTop,
    Ended,
}

impl Position {
    /// Moves on by one frame.
    ///
    /// # Errors
    ///
    /// If the frame may not be here: an entry before the top or after the end, an end without its
    /// beginning, or content beyond the announced size.
    pub fn advance(&mut self, frame: &Frame<'_>) -> Result<(), MalformedFrame> {
        self.stage = match (self.stage, frame) {
            (Stage::BeforeTop, Frame::Directory { name: b"", .. }) => {
                self.depth = 1;
                Stage::InDirectory
            }
            (Stage::InDirectory, Frame::Directory { name, .. }) if !name.is_empty() => {
                self.depth += 1;
                Stage::InDirectory
            }
            (Stage::InDirectory, Frame::Leave) => {
                self.depth -= 1;
                if self.depth == 0 {
                    Stage::AfterTop
                } else {
                    Stage::InDirectory
                }
            }
            (
                Stage::InDirectory,
                Frame::File {
                    size,
                    is_whole,
                    content,
                    ..
                },
            ) => {
                let announced = (*size != UNKNOWN_SIZE).then_some(*size);
                match (count_content(announced, content)?, is_whole) {
                    (left, false) => Stage::InFile(left),
                    (None | Some(0), true) => Stage::InDirectory,
                    (Some(_), true) => return Err(TOO_SHORT),
                }
            }
            (Stage::InFile(left), Frame::Content(content)) => {
                Stage::InFile(count_content(left, content)?)
            }
            (Stage::InFile(None | Some(0)), Frame::FileEnd)
            | (Stage::InFile(_), Frame::FileAborted(_)) => Stage::InDirectory,
            (Stage::InFile(Some(_)), Frame::FileEnd) => return Err(TOO_SHORT),
            (
                Stage::InDirectory,
                Frame::Link { .. } | Frame::Skipped { .. } | Frame::Failed { .. },
            ) => Stage::InDirectory,
            (Stage::AfterTop, Frame::End) => Stage::Ended,
            (_, _) => return Err(MalformedFrame("a frame is not allowed at its place")),
        };
        Ok(())
    }

    /// How many directories are entered below the top.
    pub fn depth(&self) -> u64 {
        self.depth.saturating_sub(1)
    }

    /// Whether the end was received.
    pub fn is_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }
}

const TOO_SHORT: MalformedFrame = MalformedFrame("a file is shorter than announced");

/// Returns how many bytes are still announced after this content.
fn count_content(left: Option<u64>, content: &[u8]) -> Result<Option<u64>, MalformedFrame> {
    let Some(left) = left else { return Ok(None) };
    match left.checked_sub(content.len() as u64) {
        Some(left) => Ok(Some(left)),
        None => Err(MalformedFrame("a file is longer than announced")),
    }
}
