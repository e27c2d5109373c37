//! Hashes of files: `check-file-name` and `check-file-handle` of
//! [draft-ietf-secsh-filexfer-extensions-00, section 3]. A client that continues a transfer
//! learns by them whether what is there is what it has.
//!
//! [draft-ietf-secsh-filexfer-extensions-00, section 3]: https://datatracker.ietf.org/doc/html/draft-ietf-secsh-filexfer-extensions-00#section-3

use std::fs::File;
use std::os::unix::fs::FileExt;

use russh_sftp::protocol::StatusCode;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::status::Refused;

/// The one that this server has.
const ALGORITHM: &str = "sha256";
/// Blocks are no smaller, by the draft.
const LEAST_BLOCK: u32 = 256;
/// Most bytes of hashes in one answer, which fit a packet.
const MOST_HASHES: usize = 128 << 10;
/// Bytes read at once.
const PIECE: usize = 128 << 10;

/// What to hash.
pub(super) struct Range {
    pub(super) start: u64,
    /// Zero is up to the end.
    pub(super) length: u64,
    /// Each so many bytes get a hash of their own; zero is one for all.
    pub(super) block: u32,
}

/// The answer after its id: what it is, the algorithm, the hashes. A file may say to be far longer
/// than its disk is: nothing goes on for a client that has gone.
pub(super) fn hashes(
    file: &File,
    algorithms: &str,
    range: Range,
    gone: &CancellationToken,
) -> Result<Vec<u8>, Refused> {
    if !algorithms
        .split(',')
        .any(|algorithm| algorithm == ALGORITHM)
    {
        return Err(Refused::new(
            StatusCode::Failure,
            "the only hash algorithm here is sha256",
        ));
    }
    if range.block != 0 && range.block < LEAST_BLOCK {
        return Err(Refused::new(
            StatusCode::Failure,
            "a block has at least 256 bytes",
        ));
    }
    if i64::try_from(range.start).is_err() {
        return Err(Refused::new(StatusCode::Failure, "no file is that long"));
    }
    if !file.metadata()?.is_file() {
        return Err(Refused::new(
            StatusCode::Failure,
            "only regular files have hashes",
        ));
    }
    let mut answer = Vec::new();
    for text in ["check-file", ALGORITHM] {
        answer.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_be_bytes());
        answer.extend_from_slice(text.as_bytes());
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
    let (mut at, mut count) = (range.start, 0);
    let mut buffer = vec![0; PIECE];
    loop {
        let block_end = at.saturating_add(block).min(end);
        let mut hash = Sha256::new();
        let begun = at;
        while at < block_end {
            if gone.is_cancelled() {
                return Err(Refused::new(
                    StatusCode::ConnectionLost,
                    "the client has gone",
                ));
            }
            let want = usize::try_from(block_end - at).unwrap_or(PIECE).min(PIECE);
            let read = file.read_at(&mut buffer[..want], at)?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            at += read as u64;
        }
        // An empty range has one hash, as an empty file has.
        if at > begun || count == 0 {
            if answer.len() >= MOST_HASHES {
                let message = "there are too many blocks for one answer: ask for larger ones";
                return Err(Refused::new(StatusCode::Failure, message));
            }
            answer.extend_from_slice(&hash.finalize());
            count += 1;
        }
        if at < block_end || at >= end {
            return Ok(answer);
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
        let gone = CancellationToken::new();
        let of = |start, length, block| {
            hashes(
                &file,
                "md5,sha256",
                Range {
                    start,
                    length,
                    block,
                },
                &gone,
            )
        };
        let head = b"\0\0\0\x0acheck-file\0\0\0\x06sha256".to_vec();
        let expect = |parts: &[&[u8]]| {
            let hashes = parts.iter().flat_map(|part| Sha256::digest(part).to_vec());
            head.iter().copied().chain(hashes).collect::<Vec<_>>()
        };
        assert_eq!(of(0, 0, 0).unwrap(), expect(&[&data]));
        assert_eq!(of(5, 1000, 0).unwrap(), expect(&[&data[5..1005]]));
        assert_eq!(
            of(0, 600, 256).unwrap(),
            expect(&[&data[..256], &data[256..512], &data[512..600]])
        );
        assert_eq!(
            of(299_999, 10, 0).unwrap(),
            expect(&[&data[299_999..]]),
            "less at the end"
        );
        assert_eq!(of(1_000_000, 10, 0).unwrap(), expect(&[b""]));
        assert!(of(u64::MAX - 1, 10, 0).is_err());
        assert!(of(0, 0, 1).is_err());
        let whole = || Range {
            start: 0,
            length: 0,
            block: 0,
        };
        assert!(hashes(&file, "md5", whole(), &gone).is_err());
        assert!(hashes(&File::open("/").unwrap(), "sha256", whole(), &gone).is_err());
    }

    #[test]
    fn nothing_is_hashed_for_a_client_that_has_gone() {
        let file = tempfile::tempfile().unwrap();
        // It would take hours.
        file.set_len(8 << 40).unwrap();
        let gone = CancellationToken::new();
        let hashing = std::thread::spawn({
            let gone = gone.clone();
            move || {
                hashes(
                    &file,
                    "sha256",
                    Range {
                        start: 0,
                        length: 0,
                        block: 0,
                    },
                    &gone,
                )
                .is_err()
            }
        });
        gone.cancel();
        assert!(hashing.join().unwrap());
    }
}
