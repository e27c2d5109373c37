//! Decompresses the body of a request as it arrives.

use std::io::{self, BufRead, ErrorKind, Read};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;

/// How much is decompressed at once, however little compressed data that takes.
const STEP: usize = 64 << 10;

/// Decompresses gzip data in pieces of bounded size, so that data which expands a thousandfold takes no more memory than
/// any other.
#[derive(Debug)]
pub(super) struct GzipDecoder {
    decoder: MultiGzDecoder<Feed>,
}

/// The compressed data that has arrived and was not used yet.
#[derive(Debug, Default)]
struct Feed {
    left: Bytes,
    is_complete: bool,
}

impl GzipDecoder {
    pub(super) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Feed::default()),
        }
    }

    /// Adds compressed data. What was added before must have been used up: [`next`](Self::next) has returned `None`.
    pub(super) fn push(&mut self, piece: Bytes) {
        debug_assert!(self.decoder.get_ref().left.is_empty());
        self.decoder.get_mut().left = piece;
    }

    /// Says that nothing follows.
    pub(super) fn finish(&mut self) {
        self.decoder.get_mut().is_complete = true;
    }

    /// Returns the next piece of at most 64 KiB; `None` if there is none without more data, or at the end.
    ///
    /// # Errors
    ///
    /// If the data is not gzip, or ends too early.
    pub(super) fn next(&mut self) -> io::Result<Option<Bytes>> {
        let mut piece = vec![0; STEP];
        match self.decoder.read(&mut piece) {
            Ok(0) => Ok(None),
            Ok(length) => {
                piece.truncate(length);
                Ok(Some(piece.into()))
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Read for Feed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.len().min(buf.len());
        self.left.copy_to_slice(&mut buf[..length]);
        Ok(length)
    }
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left.is_empty() && !self.is_complete {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(&self.left)
    }

    fn consume(&mut self, amount: usize) {
        self.left.advance(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn compress(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Decompresses data that arrives in pieces of this size; returns it and the length of the longest piece.
    fn decompress(compressed: &[u8], size: usize) -> io::Result<(Vec<u8>, usize)> {
        let mut decoder = GzipDecoder::new();
        let (mut content, mut longest) = (Vec::new(), 0);
        let mut take = |decoder: &mut GzipDecoder| -> io::Result<()> {
            while let Some(piece) = decoder.next()? {
                longest = longest.max(piece.len());
                content.extend_from_slice(&piece);
            }
            Ok(())
        };
        for piece in compressed.chunks(size) {
            decoder.push(Bytes::copy_from_slice(piece));
            take(&mut decoder)?;
        }
        decoder.finish();
        take(&mut decoder)?;
        Ok((content, longest))
    }

    #[test]
    fn data_is_decompressed_in_whatever_pieces_it_arrives() {
        let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
        for size in [1, 7, 1 << 20] {
            let (decompressed, _) = decompress(&compress(&content), size).unwrap();
            assert!(decompressed == content, "in pieces of {size}");
        }
        let two = [compress(b"one"), compress(b""), compress(b"two")].concat();
        assert_eq!(decompress(&two, 5).unwrap().0, b"onetwo");
    }

    #[test]
    fn a_bomb_is_decompressed_in_small_steps() {
        let bomb = compress(&vec![0; 50 << 20]);
        assert!(bomb.len() < 100_000);
        let (content, longest) = decompress(&bomb, bomb.len()).unwrap();
        assert_eq!(content.len(), 50 << 20);
        assert!(longest <= STEP);
    }

    #[test]
    fn what_is_not_complete_gzip_is_an_error() {
        let whole = compress(b"content");
        assert!(decompress(&whole[..whole.len() - 3], 4).is_err());
        assert!(decompress(&whole[..5], 4).is_err());
        assert!(decompress(b"no gzip at all", 4).is_err());
        let mut damaged = whole;
        let middle = damaged.len() - 6;
        damaged[middle] ^= 1;
        assert!(decompress(&damaged, 100).is_err());
    }
}
