//! Hashes of files: `check-file-name` and `check-file-handle` of
//! [draft-ietf-secsh-filexfer-extensions-00, section 3]. A client that resumes a transfer compares
//! the partial file with its source by them.
//!
//! [draft-ietf-secsh-filexfer-extensions-00, section 3]: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-extensions-00#section-3

use std::fs::File;
use std::os::unix::fs::FileExt;

use russh_sftp::protocol::StatusCode;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::status::SftpError;

/// The only algorithm of this server.
const ALGORITHM: &str = "sha256";
/// The smallest block size that the draft allows.
const MIN_BLOCK: u32 = 256;
/// Bytes of hashes in one reply, so that it fits in a packet.
const MAX_HASHES: usize = 128 << 10;
/// Bytes per read of the file.
const CHUNK: usize = 128 << 10;

/// The part of a file to hash.
pub(super) struct Range {
    pub(super) start: u64,
    /// Zero means up to the end.
    pub(super) length: u64,
    /// The bytes per hash. Zero means one hash for the whole range.
    pub(super) block: u32,
}

/// Returns the reply after its id: the name of the extension, the algorithm, the hashes.
///
/// A sparse file may be far longer than its disk, so hashing stops once the channel is closed.
pub(super) fn hash_range(
    file: &File,
    algorithms: &str,
    range: Range,
    closed: &CancellationToken,
) -> Result<Vec<u8>, SftpError> {
    if !algorithms
        .split(',')
        .any(|algorithm| algorithm == ALGORITHM)
    {
        return Err(SftpError::new(
            StatusCode::Failure,
            "the hash algorithm is not supported: use sha256",
        ));
    }
    if range.block != 0 && range.block < MIN_BLOCK {
        return Err(SftpError::new(
            StatusCode::Failure,
            "a block has at least 256 bytes",
        ));
    }
    if i64::try_from(range.start).is_err() {
        return Err(SftpError::new(
            StatusCode::Failure,
            "the start is beyond any file's end",
        ));
    }
    if !file.metadata()?.is_file() {
        return Err(SftpError::new(
            StatusCode::Failure,
            "only regular files have hashes",
        ));
    }
    let mut reply = Vec::new();
    for text in ["check-file", ALGORITHM] {
        reply.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
        reply.extend_from_slice(text.as_bytes());
    }
    let end = match range.length {
        0 => u64::MAX,
        length => range.start.saturating_add(length),
    };
    let block = if range.block == 0 {
        u64::MAX
    } else {
        range.block.into()
    };
    let mut at = range.start;
    let mut count = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let block_end = at.saturating_add(block).min(end);
        let mut hash = Sha256::new();
        let block_start = at;
        while at < block_end {
            if closed.is_cancelled() {
                return Err(SftpError::new(
                    StatusCode::ConnectionLost,
                    "the channel is closed",
                ));
            }
            let length = usize::try_from(block_end - at).unwrap_or(CHUNK).min(CHUNK);
            let read = file.read_at(&mut buffer[..length], at)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            at += read as u64;
        }
        // An empty range has one hash, that of no bytes.
        if at > block_start || count == 0 {
            if reply.len() >= MAX_HASHES {
                let message = "too many blocks for one reply: use a larger block size";
                return Err(SftpError::new(StatusCode::Failure, message));
            }
            reply.extend_from_slice(&hash.finalize());
            count += 1;
        }
        if at < block_end || at >= end {
            return Ok(reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn ranges_and_blocks_have_hashes() {
        let mut file = tempfile::tempfile().unwrap();
        let data: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        file.write_all(&data).unwrap();
        let closed = CancellationToken::new();
        let hash = |start, length, block| {
            hash_range(
                &file,
                "md5,sha256",
                Range {
                    start,
                    length,
                    block,
                },
                &closed,
            )
        };
        let head = b"\0\0\0\x0acheck-file\0\0\0\x06sha256".to_vec();
        let expect = |parts: &[&[u8]]| {
            let hashes = parts.iter().flat_map(|part| Sha256::digest(part).to_vec());
            head.iter().copied().chain(hashes).collect::<Vec<_>>()
        };
        assert_eq!(hash(0, 0, 0).unwrap(), expect(&[&data]));
        assert_eq!(hash(5, 1000, 0).unwrap(), expect(&[&data[5..1005]]));
        assert_eq!(
            hash(0, 600, 256).unwrap(),
            expect(&[&data[..256], &data[256..512], &data[512..600]])
        );
        assert_eq!(
            hash(299_999, 10, 0).unwrap(),
            expect(&[&data[299_999..]]),
            "the last block is shorter"
        );
        assert_eq!(hash(1_000_000, 10, 0).unwrap(), expect(&[b""]));
        assert!(hash(u64::MAX - 1, 10, 0).is_err());
        assert!(hash(0, 0, 1).is_err());
        let whole = || Range {
            start: 0,
            length: 0,
            block: 0,
        };
        assert!(hash_range(&file, "md5", whole(), &closed).is_err());
        assert!(hash_range(&File::open("/").unwrap(), "sha256", whole(), &closed).is_err());
    }

    #[test]
    fn hashing_stops_when_the_channel_is_closed() {
        let file = tempfile::tempfile().unwrap();
        // Hashing all of it would take hours.
        file.set_len(8 << 40).unwrap();
        let closed = CancellationToken::new();
        let hashing = std::thread::spawn({
            let closed = closed.clone();
            move || {
                hash_range(
                    &file,
                    "sha256",
                    Range {
                        start: 0,
                        length: 0,
                        block: 0,
                    },
                    &closed,
                )
                .is_err()
            }
        });
        closed.cancel();
        assert!(hashing.join().unwrap());
    }
}
