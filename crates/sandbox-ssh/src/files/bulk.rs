//! The content of files, past russh-sftp.
//!
//! russh-sftp copies what is read and written two or three times on its way, and that is a good
//! part of what a large file costs. So requests for content are made here, with ids that it does
//! not use, and their answers are taken out of the stream before it sees them: what the server
//! sends goes to the file from the buffer in which it was decrypted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{Status, StatusCode};
use tokio::sync::oneshot;

use super::outgoing::Requests;
use super::sftp::SftpResult;

// Packet types of draft-ietf-secsh-filexfer-02, section 3.
const READ: u8 = 5;
const WRITE: u8 = 6;
const STATUS: u8 = 101;
const DATA: u8 = 103;

/// Ids from here on are ours. russh-sftp counts from one, and a session does not live so long.
pub(super) const OURS: u32 = 1 << 31;
/// Room for the head of a request that writes: 25 bytes and a handle.
const HEAD: usize = 64;

/// Reads from files and writes to them.
pub(super) struct Bulk {
    requests: Requests,
    waiting: Arc<Waiting>,
    next: AtomicU32,
}

/// Who waits for which answer; `None` once no more will come.
pub(super) struct Waiting(Mutex<Option<HashMap<u32, oneshot::Sender<Answer>>>>);

/// An answer without its id.
pub(super) struct Answer {
    pub(super) kind: u8,
    pub(super) body: Parts,
}

/// Bytes in the parts in which they came, the small ones put together.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Bytes>,
    small: BytesMut,
    length: usize,
}

/// Bytes to write, with room before them for the head of their request.
pub(super) struct Piece(Vec<u8>);

/// Waits for an answer, until dropped.
struct Wait<'a> {
    id: u32,
    waiting: &'a Waiting,
    answer: oneshot::Receiver<Answer>,
}

impl Bulk {
    pub(super) fn new(requests: Requests) -> Self {
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        Self { requests, waiting, next: AtomicU32::new(0) }
    }

    pub(super) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    /// Reads up to `length` bytes; none at the end of the file. It is sent when first polled.
    pub(super) async fn read(&self, handle: &str, offset: u64, length: u32) -> SftpResult<Parts> {
        let wait = self.wait()?;
        let mut request = BytesMut::with_capacity(HEAD + handle.len());
        head(&mut request, READ, wait.id, handle, offset, 4)?;
        request.put_u32(length);
        let Answer { kind, mut body } = self.ask(wait, request.freeze()).await?;
        match kind {
            DATA => {
                let said = body.take_u32().ok_or(SftpError::UnexpectedPacket)?;
                let fits = said as usize == body.len() && said <= length;
                if fits { Ok(body) } else { Err(SftpError::UnexpectedPacket) }
            }
            _ => match status(kind, body)? {
                end if end.status_code == StatusCode::Eof => Ok(Parts::default()),
                other => Err(SftpError::Status(other)),
            },
        }
    }

    /// Writes a piece. It is sent when first polled.
    pub(super) async fn write(&self, handle: &str, offset: u64, piece: Piece) -> SftpResult<()> {
        let wait = self.wait()?;
        let length = u32::try_from(piece.len()).map_err(|_| SftpError::UnexpectedPacket)?;
        let mut before = BytesMut::with_capacity(HEAD + handle.len());
        head(&mut before, WRITE, wait.id, handle, offset, length.saturating_add(4))?;
        before.put_u32(length);
        let Answer { kind, body } = self.ask(wait, piece.after(&before)).await?;
        match status(kind, body)? {
            done if done.status_code == StatusCode::Ok => Ok(()),
            other => Err(SftpError::Status(other)),
        }
    }

    fn wait(&self) -> SftpResult<Wait<'_>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed) | OURS;
        let (sender, answer) = oneshot::channel();
        self.waiting.state().as_mut().ok_or_else(ended)?.insert(id, sender);
        Ok(Wait { id, waiting: &self.waiting, answer })
    }

    async fn ask(&self, mut wait: Wait<'_>, request: Bytes) -> SftpResult<Answer> {
        if !self.requests.send(request) {
            return Err(ended());
        }
        (&mut wait.answer).await.map_err(|_| ended())
    }
}

fn ended() -> SftpError {
    SftpError::UnexpectedBehavior("the session has ended".into())
}

/// All of a request up to what follows the offset, which has `rest` bytes.
fn head(to: &mut BytesMut, kind: u8, id: u32, handle: &str, offset: u64, rest: u32) -> SftpResult<()> {
    let handle_length = u32::try_from(handle.len()).map_err(|_| SftpError::UnexpectedPacket)?;
    to.put_u32(1 + 4 + 4 + handle_length + 8 + rest);
    to.put_u8(kind);
    to.put_u32(id);
    to.put_u32(handle_length);
    to.put_slice(handle.as_bytes());
    to.put_u64(offset);
    Ok(())
}

fn status(kind: u8, body: Parts) -> SftpResult<Status> {
    if kind != STATUS {
        return Err(SftpError::UnexpectedPacket);
    }
    let mut bytes = BytesMut::with_capacity(4 + body.len());
    bytes.put_u32(0);
    body.into_iter().for_each(|part| bytes.put_slice(&part));
    russh_sftp::de::from_bytes(&mut bytes.freeze()).map_err(|_| SftpError::UnexpectedPacket)
}

impl Waiting {
    /// Hands an answer to whoever waits for it, if somebody still does.
    pub(super) fn answer(&self, id: u32, answer: Answer) {
        if let Some(sender) = self.state().as_mut().and_then(|waiting| waiting.remove(&id)) {
            drop(sender.send(answer));
        }
    }

    /// No more answers will come.
    pub(super) fn end(&self) {
        drop(self.state().take());
    }

    fn state(&self) -> MutexGuard<'_, Option<HashMap<u32, oneshot::Sender<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.state().as_mut() {
            waiting.remove(&self.id);
        }
    }
}

impl Parts {
    /// Below this, a part costs more than copying it.
    const SMALL: usize = 2 << 10;

    pub(super) fn push(&mut self, part: Bytes) {
        self.length += part.len();
        if part.len() < Self::SMALL {
            self.small.extend_from_slice(&part);
        } else {
            self.seal();
            self.parts.push(part);
        }
    }

    pub(super) fn extend(&mut self, more: Self) {
        more.into_iter().for_each(|part| self.push(part));
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    /// Takes the first four bytes off.
    fn take_u32(&mut self) -> Option<u32> {
        self.seal();
        let mut number = 0;
        let mut parts = self.parts.iter_mut();
        let mut part = parts.next()?;
        for _ in 0..4 {
            while part.is_empty() {
                part = parts.next()?;
            }
            number = number << 8 | u32::from(part.get_u8());
        }
        self.length -= 4;
        Some(number)
    }
}

impl IntoIterator for Parts {
    type Item = Bytes;
    type IntoIter = std::vec::IntoIter<Bytes>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.seal();
        self.parts.into_iter()
    }
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
