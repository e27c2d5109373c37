//! Decodes the responses with names, which are bytes.

use bytes::{Buf, Bytes};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::FilePath;

use super::error::SftpResult;

/// A file in a response.
#[derive(Debug)]
pub(crate) struct NamedFile {
    pub(crate) name: FilePath,
    pub(crate) attributes: FileAttributes,
}

/// Decodes the body of `SSH_FXP_NAME` (draft-ietf-secsh-filexfer-02, section 7).
pub(super) fn parse_names(mut body: Bytes) -> SftpResult<Vec<NamedFile>> {
    let count = take_u32(&mut body)?;
    // No memory is reserved, because the server can claim any count.
    let mut files = Vec::new();
    for _ in 0..count {
        let name = take_string(&mut body)?;
        let _long_name = take_string(&mut body)?;
        // russh-sftp takes a missing field for one without attributes.
        if body.is_empty() {
            return Err(SftpError::UnexpectedPacket);
        }
        files.push(NamedFile {
            name: FilePath::from(&*name),
            attributes: russh_sftp::de::from_bytes(&mut body)?,
        });
    }
    Ok(files)
}

fn take_u32(from: &mut Bytes) -> SftpResult<u32> {
    from.try_get_u32().map_err(|_| SftpError::UnexpectedPacket)
}

fn take_string(from: &mut Bytes) -> SftpResult<Bytes> {
    let length = take_u32(from)? as usize;
    if length > from.len() {
        return Err(SftpError::UnexpectedPacket);
    }
    Ok(from.split_to(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bytes_and_other_responses_errors() {
        let body = b"\0\0\0\x02\0\0\0\x04caf\xe9\0\0\0\x01x\0\0\0\x04\0\0\x41\xff\
                     \0\0\0\x01b\0\0\0\0\0\0\0\0";
        let files = parse_names(Bytes::from_static(body)).unwrap();
        assert_eq!(files[0].name, FilePath::from(b"caf\xe9"));
        assert_eq!(files[0].attributes.permissions, Some(0o40_777));
        assert_eq!((files.len(), &files[1].name), (2, &FilePath::from("b")));
        for length in 0..body.len() {
            let cut = Bytes::copy_from_slice(&body[..length]);
            assert!(parse_names(cut).is_err(), "{length}");
        }
        assert!(parse_names(Bytes::from_static(b"\xff\xff\xff\xff")).is_err());
    }
}
