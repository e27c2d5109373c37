//! The fields of packets (RFC 4251 §5), with names and paths as bytes.

use std::io;

use bytes::{BufMut, BytesMut};
use russh_sftp::protocol::{FileAttributes, StatusCode};

use super::status::SftpError;

// The flags of draft-ietf-secsh-filexfer-02, section 5.
const SIZE: u32 = 1;
const OWNER: u32 = 2;
const PERMISSIONS: u32 = 4;
const TIMES: u32 = 8;

/// The fields of a packet that are not parsed yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn read_string(&mut self) -> Result<&'a [u8], SftpError> {
        let length = usize::try_from(self.read_u32()?).map_err(|_| malformed())?;
        let (string, rest) = self.0.split_at_checked(length).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(string)
    }

    /// Reads a string that this server has chosen, such as a handle, or a name of the protocol.
    pub(super) fn read_text(&mut self) -> Result<&'a str, SftpError> {
        std::str::from_utf8(self.read_string()?).map_err(|_| malformed())
    }

    pub(super) fn read_u8(&mut self) -> Result<u8, SftpError> {
        let (byte, rest) = self.0.split_first().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(super) fn read_u32(&mut self) -> Result<u32, SftpError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(malformed)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    pub(super) fn read_u64(&mut self) -> Result<u64, SftpError> {
        Ok(u64::from(self.read_u32()?) << 32 | u64::from(self.read_u32()?))
    }

    pub(super) fn read_attributes(&mut self) -> Result<FileAttributes, SftpError> {
        let mut attributes = FileAttributes::empty();
        let flags = self.read_u32()?;
        if flags & SIZE != 0 {
            attributes.size = Some(self.read_u64()?);
        }
        if flags & OWNER != 0 {
            attributes.uid = Some(self.read_u32()?);
            attributes.gid = Some(self.read_u32()?);
        }
        if flags & PERMISSIONS != 0 {
            attributes.permissions = Some(self.read_u32()?);
        }
        if flags & TIMES != 0 {
            attributes.atime = Some(self.read_u32()?);
            attributes.mtime = Some(self.read_u32()?);
        }
        Ok(attributes)
    }
}

/// Appends a string. One that is longer than a packet can be is refused.
pub(super) fn put_string(to: &mut BytesMut, string: &[u8]) -> io::Result<()> {
    let length = u32::try_from(string.len()).map_err(io::Error::other)?;
    to.put_u32(length);
    to.put_slice(string);
    Ok(())
}

fn malformed() -> SftpError {
    SftpError::new(StatusCode::BadMessage, "the request is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        for attributes in [
            FileAttributes::empty(),
            FileAttributes {
                size: Some(1 << 40),
                uid: Some(7),
                gid: Some(8),
                permissions: Some(0o100_644),
                atime: Some(1),
                mtime: Some(u32::MAX),
                ..FileAttributes::empty()
            },
        ] {
            let bytes = russh_sftp::ser::to_bytes(&attributes).unwrap();
            let read = Fields(&bytes).read_attributes().unwrap();
            assert_eq!(format!("{read:?}"), format!("{attributes:?}"));
        }
    }
}
