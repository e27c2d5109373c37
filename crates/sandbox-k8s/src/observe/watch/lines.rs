//! Splits the body of a watch response into lines.

use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, Stream};

/// The lines of a response body.
pub(crate) struct Lines {
    body: BoxStream<'static, kube::Result<Bytes>>,
    /// The bytes received after the last complete line.
    buffer: BytesMut,
    /// How many bytes of the buffer are known to hold no line feed.
    searched: usize,
}

/// The longest line. No object comes close to it: etcd accepts 1.5 MiB.
const MAX_LINE: usize = 16 * 1024 * 1024;

impl Lines {
    pub(crate) fn new(body: impl Stream<Item = kube::Result<Bytes>> + Send + 'static) -> Self {
        Self {
            body: body.boxed(),
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// Returns the next complete line; an incomplete last one is dropped. Cancel safe.
    pub(crate) async fn next(&mut self) -> kube::Result<Option<Bytes>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = unsearched.iter().position(|byte| *byte == b'\n') {
                // Splitting copies nothing, however many lines follow.
                let line = self.buffer.split_to(self.searched + at);
                self.buffer.advance(1);
                self.searched = 0;
                if !line.is_empty() {
                    return Ok(Some(line.freeze()));
                }
                continue;
            }
            self.searched = self.buffer.len();
            match self.body.next().await {
                Some(Ok(piece)) if self.buffer.len() + piece.len() <= MAX_LINE => {
                    self.buffer.extend_from_slice(&piece);
                }
                Some(Ok(_)) => return Err(kube::Error::LinesCodecMaxLineLengthExceeded),
                Some(Err(error)) => return Err(error),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn lines(pieces: &[&'static str]) -> Lines {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Bytes::from_static(piece.as_bytes()))
            .collect();
        Lines::new(stream::iter(pieces).map(Ok))
    }

    #[tokio::test]
    async fn lines_are_complete_however_the_body_is_split() {
        for pieces in [
            &["ab\ncd\n"][..],
            &["a", "b", "\nc", "d\n"],
            &["ab\n\ncd\nhalf of a li"],
        ] {
            let mut lines = lines(pieces);
            let mut found = Vec::new();
            while let Some(line) = lines.next().await.unwrap() {
                found.push(String::from_utf8(line.to_vec()).unwrap());
            }
            assert_eq!(found, ["ab", "cd"], "{pieces:?}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_an_error() {
        let piece = "x".repeat(1024 * 1024).leak();
        assert!(lines(&[&*piece; 17]).next().await.is_err());
    }
}
