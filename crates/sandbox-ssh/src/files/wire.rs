//! One session on the wire: requests by their ids, and who waits for which answer.
//!
//! The packets are russh-sftp's, its client is not: that copies the content of a file two or three
//! times on its way, which is a good part of what a large one costs. Here what a server sends goes
//! to the file from the buffer in which it was decrypted, and all other requests go the same way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::Packet;
use tokio::sync::oneshot;

use super::outgoing::Outgoing;
use super::sftp::SftpResult;

/// Under this id the version is waited for, which has none.
pub(super) const INIT: u32 = 0;
/// Its packet's type.
const VERSION: u8 = 2;

/// Sends requests.
pub(super) struct Wire {
    outgoing: Outgoing,
    waiting: Arc<Waiting>,
    next: AtomicU32,
}

/// Who waits for which answer; `None` once no more will come.
pub(super) struct Waiting(Mutex<Option<HashMap<u32, oneshot::Sender<Answer>>>>);

/// An answer.
pub(super) struct Answer {
    pub(super) kind: u8,
    /// Its id, or the version.
    pub(super) number: u32,
    pub(super) body: Parts,
}

/// Bytes in the parts in which they came, the small ones put together.
#[derive(Default)]
pub(super) struct Parts {
    parts: Vec<Bytes>,
    small: BytesMut,
    length: usize,
}

/// Waits for an answer, until dropped.
pub(super) struct Wait<'a> {
    pub(super) id: u32,
    waiting: &'a Waiting,
    answer: oneshot::Receiver<Answer>,
}

impl Wire {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        Self {
            outgoing,
            waiting,
            next: AtomicU32::new(INIT),
        }
    }

    pub(super) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    /// A place for the answer to the next request.
    pub(super) fn wait(&self) -> SftpResult<Wait<'_>> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting
            .state()
            .as_mut()
            .ok_or_else(ended)?
            .insert(id, sender);
        Ok(Wait {
            id,
            waiting: &self.waiting,
            answer,
        })
    }

    /// Sends a whole request, and waits for its answer.
    pub(super) async fn ask(&self, mut wait: Wait<'_>, request: Bytes) -> SftpResult<Answer> {
        if !self.outgoing.send(request) {
            return Err(ended());
        }
        (&mut wait.answer).await.map_err(|_| ended())
    }
}

fn ended() -> SftpError {
    SftpError::UnexpectedBehavior("the session has ended".into())
}

impl Answer {
    /// Of the request that it is for.
    fn id(&self) -> u32 {
        if self.kind == VERSION {
            INIT
        } else {
            self.number
        }
    }

    pub(super) fn packet(self) -> SftpResult<Packet> {
        let mut bytes = BytesMut::with_capacity(5 + self.body.len());
        bytes.put_u8(self.kind);
        bytes.put_u32(self.number);
        self.body
            .into_iter()
            .for_each(|part| bytes.put_slice(&part));
        Packet::try_from(&mut bytes.freeze()).map_err(|_| SftpError::UnexpectedPacket)
    }
}

impl Waiting {
    /// Hands an answer to whoever waits for it, if somebody still does.
    pub(super) fn answer(&self, answer: Answer) {
        if let Some(sender) = self
            .state()
            .as_mut()
            .and_then(|waiting| waiting.remove(&answer.id()))
        {
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
    pub(super) fn take_u32(&mut self) -> Option<u32> {
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
