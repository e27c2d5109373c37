//! The requests that carry the content of files, which are encoded here to avoid copies.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Packet, StatusCode};
use sandbox_core::Reader;
use tokio::io::AsyncReadExt;

use super::error::SftpResult;
use super::requests::expect_ok;
use super::wire::{Parts, Response, Wire};

// Packet types of draft-ietf-secsh-filexfer-02, section 3.
const READ: u8 = 5;
const WRITE: u8 = 6;
const DATA: u8 = 103;

/// Room for the head of a WRITE request: 25 bytes and a handle.
const HEAD: usize = 64;

/// Bytes to write, with room before them for the head of their request.
pub(crate) struct Piece(Vec<u8>);

/// Each request is sent when its future is first polled.
impl Wire {
    /// Reads up to `length` bytes; none at the end of the file.
    pub(crate) async fn read(&self, handle: &str, offset: u64, length: u32) -> SftpResult<Parts> {
        let registration = self.register()?;
        let mut request = BytesMut::with_capacity(HEAD + handle.len());
        put_head(&mut request, READ, registration.id, handle, offset, 4)?;
        request.put_u32(length);
        let mut response = self.exchange(registration, request.freeze()).await?;
        if let Response {
            kind: DATA, body, ..
        } = &mut response
        {
            let announced = body.take_u32().ok_or(SftpError::UnexpectedPacket)?;
            let fits = announced as usize == body.len() && announced <= length;
            return if fits {
                Ok(response.body)
            } else {
                Err(SftpError::UnexpectedPacket)
            };
        }
        match response.into_packet()? {
            Packet::Status(end) if end.status_code == StatusCode::Eof => Ok(Parts::default()),
            Packet::Status(other) => Err(SftpError::Status(other)),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    /// Writes a piece.
    pub(crate) async fn write(&self, handle: &str, offset: u64, piece: Piece) -> SftpResult<()> {
        let registration = self.register()?;
        let length = u32::try_from(piece.len()).map_err(|_| SftpError::UnexpectedPacket)?;
        let mut start = BytesMut::with_capacity(HEAD + handle.len());
        put_head(
            &mut start,
            WRITE,
            registration.id,
            handle,
            offset,
            length.saturating_add(4),
        )?;
        start.put_u32(length);
        let request = piece.into_request(&start);
        expect_ok(self.exchange(registration, request).await?.into_packet()?)
    }
}

/// Encodes a request up to its offset; `rest` bytes follow.
fn put_head(
    to: &mut BytesMut,
    kind: u8,
    id: u32,
    handle: &str,
    offset: u64,
    rest: u32,
) -> SftpResult<()> {
    let handle_length = u32::try_from(handle.len()).map_err(|_| SftpError::UnexpectedPacket)?;
    to.put_u32(1 + 4 + 4 + handle_length + 8 + rest);
    to.put_u8(kind);
    to.put_u32(id);
    to.put_u32(handle_length);
    to.put_slice(handle.as_bytes());
    to.put_u64(offset);
    Ok(())
}

impl Piece {
    /// Reads the next piece, of at most `max_len` bytes, of content that has this size, if it is
    /// known.
    pub(crate) async fn read_from(
        from: &mut Reader,
        max_len: usize,
        size: Option<u64>,
    ) -> io::Result<Self> {
        let expected = size
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(max_len);
        let mut piece = Self::with_capacity(expected.saturating_add(1).min(max_len));
        while piece.len() < max_len {
            let room = (max_len - piece.len()) as u64;
            if (&mut *from).take(room).read_buf(piece.as_vec()).await? == 0 {
                break;
            }
        }
        Ok(piece)
    }

    /// An empty piece with room for this many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut piece = Vec::with_capacity(HEAD + bytes);
        piece.resize(HEAD, 0);
        Self(piece)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len() - HEAD
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to which content is appended.
    pub(super) fn as_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The content alone.
    pub(crate) fn into_content(self) -> Bytes {
        Bytes::from(self.0).slice(HEAD..)
    }

    /// The whole request, which begins with `start`.
    fn into_request(mut self, start: &[u8]) -> Bytes {
        match HEAD.checked_sub(start.len()) {
            Some(at) => {
                self.0[at..HEAD].copy_from_slice(start);
                Bytes::from(self.0).slice(at..)
            }
            // A handle may have 256 bytes.
            None => [start, &self.0[HEAD..]].concat().into(),
        }
    }
}
