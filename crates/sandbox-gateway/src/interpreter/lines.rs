//! Lines of JSON from a sandbox.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line in bytes: a little more than the interpreter's own limit.
const MAX_LINE: usize = 17 * 1024 * 1024;

/// Why there is no next line.
#[derive(Debug)]
pub(super) enum LineError {
    /// The stream ended before, or within, a line.
    Ended,
    /// The stream is broken.
    Io(std::io::Error),
    /// The line is longer than any that the interpreter sends.
    TooLong,
    /// It is not JSON, or not of the form that was expected.
    Syntax(serde_json::Error),
}

/// Splits a stream into lines, of which it holds one.
#[derive(Debug)]
pub(super) struct LineReader<R> {
    stream: R,
    buffer: BytesMut,
    searched: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// Returns the next line with its end, or `None` at the end of the stream. Nothing is lost if the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LineError> {
        loop {
            let found = self.buffer[self.searched..]
                .iter()
                .position(|byte| *byte == b'\n');
            if let Some(found) = found {
                let line = self.buffer.split_to(self.searched + found + 1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.searched > MAX_LINE {
                return Err(LineError::TooLong);
            }
            self.buffer.reserve(16 * 1024);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(LineError::Ended),
                Ok(_) => {}
                Err(error) => return Err(LineError::Io(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    #[tokio::test]
    async fn lines_arrive_whole_however_they_are_cut() {
        let (mut writer, reader) = tokio::io::duplex(7);
        let writing = tokio::spawn(async move {
            writer.write_all(b"{\"a\":1}\n{}\n\nrest").await.unwrap();
        });
        let mut lines = LineReader::new(reader);
        for expected in ["{\"a\":1}\n", "{}\n", "\n"] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected.as_bytes());
        }
        assert!(matches!(lines.next().await, Err(LineError::Ended)));
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_given_up() {
        let mut lines = LineReader::new(tokio::io::repeat(b'x'));
        assert!(matches!(lines.next().await, Err(LineError::TooLong)));
    }
}
