//! Building and encoding the replies to requests.

use std::fs::Metadata;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use russh_sftp::protocol::{Attrs, FileAttributes, Packet, Status, StatusCode};

use super::attributes;
use super::fields::put_string;
use super::status::SftpError;

/// Packet type of draft-ietf-secsh-filexfer-02, section 7.
const NAME: u8 = 104;

/// A reply, except to the requests for names: russh-sftp has those as text, but names are bytes.
#[derive(Debug)]
pub(super) enum Reply {
    Packet(Packet),
    Names(u32, Vec<NamedFile>),
}

/// A file in a reply.
#[derive(Debug)]
pub(super) struct NamedFile {
    pub(super) name: Vec<u8>,
    /// The line that `ls -l` in sftp(1) prints.
    pub(super) long_name: Vec<u8>,
    pub(super) attributes: FileAttributes,
}

impl Reply {
    /// Encodes the reply with its length.
    pub(super) fn encode(self) -> io::Result<Bytes> {
        match self {
            Self::Packet(packet) => Bytes::try_from(packet)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string())),
            Self::Names(id, files) => encode_names(id, &files),
        }
    }
}

impl<P: Into<Packet>> From<P> for Reply {
    fn from(packet: P) -> Self {
        Self::Packet(packet.into())
    }
}

pub(super) fn build_ok(id: u32) -> Status {
    Status {
        id,
        status_code: StatusCode::Ok,
        error_message: "Success".into(),
        language_tag: "en".into(),
    }
}

/// Builds the reply to a request that returns nothing.
pub(super) fn build_status(
    id: u32,
    result: Result<(), impl Into<SftpError>>,
) -> Result<Reply, SftpError> {
    result.map(|()| build_ok(id).into()).map_err(Into::into)
}

pub(super) fn build_attributes(id: u32, metadata: &Metadata) -> Attrs {
    Attrs {
        id,
        attrs: attributes::from_metadata(metadata),
    }
}

/// Builds the reply with a path, which has no attributes.
pub(super) fn build_name(id: u32, path: Vec<u8>) -> Reply {
    let file = NamedFile {
        long_name: path.clone(),
        name: path,
        attributes: FileAttributes::empty(),
    };
    Reply::Names(id, vec![file])
}

fn encode_names(id: u32, files: &[NamedFile]) -> io::Result<Bytes> {
    let mut reply = BytesMut::new();
    reply.put_u32(0);
    reply.put_u8(NAME);
    reply.put_u32(id);
    reply.put_u32(u32::try_from(files.len()).map_err(io::Error::other)?);
    for file in files {
        put_string(&mut reply, &file.name)?;
        put_string(&mut reply, &file.long_name)?;
        let attributes = russh_sftp::ser::to_bytes(&file.attributes).map_err(io::Error::other)?;
        reply.put_slice(&attributes);
    }
    let length = u32::try_from(reply.len() - 4).map_err(io::Error::other)?;
    reply[..4].copy_from_slice(&length.to_be_bytes());
    Ok(reply.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_encoded_unchanged() {
        assert_eq!(
            build_name(7, b"caf\xe9".to_vec()).encode().unwrap(),
            &b"\0\0\0\x1d\x68\0\0\0\x07\0\0\0\x01\0\0\0\x04caf\xe9\0\0\0\x04caf\xe9\0\0\0\0"[..]
        );
    }
}
