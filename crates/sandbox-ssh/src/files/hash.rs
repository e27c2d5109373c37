//! Hashes of files in the sandbox.

use std::ops::Range;

use russh_sftp::client::error::Error as SftpError;
use sandbox_core::{Direction, Error, ExecRequest, FilePath, Output, Result};

use super::file_names::check_path;
use crate::sftp::{SftpPool, encode_strings};

/// More bytes than `sha256sum` prints.
pub(crate) const HASH_OUTPUT_CAP: usize = 4096;
/// `head` and `tail` support ranges of bytes everywhere. The hash is the first word of the output.
const SCRIPT: &str = r#"tail -c "+$2" -- "$1" | head -c "$3" | sha256sum"#;
/// For a range from the start of the file, which is the most frequent one.
const SCRIPT_FROM_START: &str = r#"head -c "$3" -- "$1" | sha256sum"#;
/// The response before the hash: two strings with their lengths.
const RESPONSE_HEAD: &[u8] = b"\0\0\0\x0acheck-file\0\0\0\x06sha256";

/// Requests a SHA-256 with the extension `check-file-name`; `None` if the server does not have it.
pub(crate) async fn request_hash(
    sessions: &SftpPool,
    path: &FilePath,
    range: Range<u64>,
) -> Result<Option<[u8; 32]>> {
    check_path(path, Direction::Inside)?;
    if range.is_empty() {
        return Err(Error::invalid(
            "range",
            format!("{range:?}"),
            "name a range with at least one byte",
        ));
    }
    let sftp = sessions.session().await?;
    if !sftp.check_file {
        return Ok(None);
    }
    let fail = |error| sftp.report_failure(Direction::Inside, path, error);
    let mut data = encode_strings([path.as_bytes(), b"sha256"]).map_err(fail)?;
    data.extend_from_slice(&range.start.to_be_bytes());
    data.extend_from_slice(&(range.end - range.start).to_be_bytes());
    data.extend_from_slice(&0_u32.to_be_bytes());
    let response = sftp
        .call(sftp.wire.extended("check-file-name", data))
        .await
        .map_err(fail)?;
    let hash = response
        .strip_prefix(RESPONSE_HEAD)
        .and_then(|hash| hash.try_into().ok());
    hash.map(Some)
        .ok_or_else(|| fail(SftpError::UnexpectedPacket))
}

/// The command that hashes a file on any other server.
pub(crate) fn hash_command(path: &FilePath, range: Range<u64>) -> ExecRequest {
    let script = if range.start == 0 {
        SCRIPT_FROM_START
    } else {
        SCRIPT
    };
    // `tail` counts bytes from one.
    let from = range.start.saturating_add(1);
    let length = range.end.saturating_sub(range.start);
    ExecRequest::from_argv([
        &b"sh"[..],
        b"-c",
        script.as_bytes(),
        b"sh",
        path.as_bytes(),
        from.to_string().as_bytes(),
        length.to_string().as_bytes(),
    ])
}

/// Parses the output of [`hash_command`]; `None` if it is not a hash.
pub(crate) fn parse_hash(output: &Output) -> Option<[u8; 32]> {
    let text = std::str::from_utf8(&output.stdout).ok()?;
    let hex = text.split_ascii_whitespace().next()?.as_bytes();
    if !output.status.success() || !output.stderr.is_empty() || hex.len() != 64 {
        return None;
    }
    let digit = |byte: u8| {
        char::from(byte)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::ExitStatus;

    #[test]
    fn only_a_hash_is_accepted() {
        let output = |stdout: &str, stderr: &str, code| {
            parse_hash(&Output::new(
                ExitStatus::Code(code),
                stdout.to_owned(),
                stderr.to_owned(),
            ))
        };
        let hex = "0123456789abcdef".repeat(4);
        let hash = output(&format!("{hex}  -\n"), "", 0).unwrap();
        assert_eq!(hash[..8], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        for (stdout, stderr, code) in [
            (format!("{hex}  -\n"), "head: No such file", 0),
            (format!("{hex}  -\n"), "", 1),
            (hex[1..].to_owned(), "", 0),
            (format!("{}g", &hex[1..]), "", 0),
            (String::new(), "", 127),
        ] {
            assert_eq!(output(&stdout, stderr, code), None);
        }
    }
}
