//! The content of files: what has to be fast, and so is put into packets here.

use bytes::{BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Packet, StatusCode};

use super::requests::done;
use super::sftp::SftpResult;
use super::wire::{Answer, Parts, Wire};

// Packet types of draft-ietf-secsh-filexfer-02, section 3.
const READ: u8 = 5;
const WRITE: u8 = 6;
const DATA: u8 = 103;

/// Room for the head of a request that writes: 25 bytes and a handle.
const HEAD: usize = 64;

/// Bytes to write, with room before them for the head of their request.
pub(super) struct Piece(Vec<u8>);

impl Wire {
    /// Reads up to `length` bytes; none at the end of the file. It is sent when first polled.
    pub(super) async fn read(&self, handle: &str, offset: u64, length: u32) -> SftpResult<Parts> {
        let wait = self.wait()?;
        let mut request = BytesMut::with_capacity(HEAD + handle.len());
        head(&mut request, READ, wait.id, handle, offset, 4)?;
        request.put_u32(length);
        let mut answer = self.ask(wait, request.freeze()).await?;
        if let Answer {
            kind: DATA, body, ..
        } = &mut answer
        {
            let said = body.take_u32().ok_or(SftpError::UnexpectedPacket)?;
            let fits = said as usize == body.len() && said <= length;
            return if fits {
                Ok(answer.body)
            } else {
                Err(SftpError::UnexpectedPacket)
            };
        }
        match answer.packet()? {
            Packet::Status(end) if end.status_code == StatusCode::Eof => Ok(Parts::default()),
            Packet::Status(other) => Err(SftpError::Status(other)),
            _ => Err(SftpError::UnexpectedPacket),
        }
    }

    /// Writes a piece. It is sent when first polled.
    pub(super) async fn write(&self, handle: &str, offset: u64, piece: Piece) -> SftpResult<()> {
        let wait = self.wait()?;
        let length = u32::try_from(piece.len()).map_err(|_| SftpError::UnexpectedPacket)?;
        let mut before = BytesMut::with_capacity(HEAD + handle.len());
        head(
            &mut before,
            WRITE,
            wait.id,
            handle,
            offset,
            length.saturating_add(4),
        )?;
        before.put_u32(length);
        done(self.ask(wait, piece.after(&before)).await?.packet()?)
    }
}

/// All of a request up to what follows the offset, which has `rest` bytes.
fn head(
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
    /// Empty, with room for so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut piece = Vec::with_capacity(HEAD + bytes);
        piece.resize(HEAD, 0);
        Self(piece)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len() - HEAD
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What to append to.
    pub(super) fn as_vec(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    /// The piece after what goes before it.
    fn after(mut self, before: &[u8]) -> Bytes {
        match HEAD.checked_sub(before.len()) {
            Some(start) => {
                self.0[start..HEAD].copy_from_slice(before);
                Bytes::from(self.0).slice(start..)
            }
            // A handle may have 256 bytes.
            None => [before, &self.0[HEAD..]].concat().into(),
        }
    }
}
