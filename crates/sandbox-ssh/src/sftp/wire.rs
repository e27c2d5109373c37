//! Sends requests, and passes each response to the task that waits for its id.
//!
//! The content of a file is passed on in the buffer in which it was decrypted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::Packet;
use tokio::sync::oneshot;

use super::error::SftpResult;
use super::outgoing::Outgoing;

/// The id of the request for the version, whose response has none.
pub(super) const INIT_ID: u32 = 0;
/// The largest packet that is accepted, in bytes. OpenSSH's are no larger.
pub(super) const MAX_PACKET: u32 = 256 << 10;
/// Packet type of the version.
const VERSION: u8 = 2;

/// Sends requests.
pub(crate) struct Wire {
    outgoing: Outgoing,
    pending: Arc<Pending>,
    next_id: AtomicU32,
}

/// The requests that wait for a response; `None` once no more responses will arrive.
pub(super) struct Pending(Mutex<Option<PendingById>>);

type PendingById = HashMap<u32, Waiter>;

enum Waiter {
    Waiting(oneshot::Sender<Response>),
    /// The request was sent and then dropped.
    Dropped,
}

/// Whether the response to a request is of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Awaited,
    /// The request was sent, but is not waited for any more.
    Unneeded,
    /// There was no such request, or it has had its response.
    Unrequested,
}

pub(super) struct Response {
    /// The packet type.
    pub(super) kind: u8,
    /// The request's id, or the version.
    pub(super) number: u32,
    pub(super) body: Parts,
}

/// Bytes in the parts in which they arrived, except that small parts are merged.
#[derive(Default)]
pub(crate) struct Parts {
    parts: Vec<Bytes>,
    small: BytesMut,
    length: usize,
}

/// Waits for the response to one request, until dropped.
pub(super) struct Registration<'a> {
    pub(super) id: u32,
    pending: &'a Pending,
    response: oneshot::Receiver<Response>,
    is_sent: bool,
}

impl Wire {
    pub(super) fn new(outgoing: Outgoing) -> Self {
        let pending = Arc::new(Pending(Mutex::new(Some(HashMap::new()))));
        Self {
            outgoing,
            pending,
            next_id: AtomicU32::new(INIT_ID),
        }
    }

    pub(super) fn pending(&self) -> Arc<Pending> {
        Arc::clone(&self.pending)
    }

    /// Registers the next request.
    pub(super) fn register(&self) -> SftpResult<Registration<'_>> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, response) = oneshot::channel();
        self.pending
            .lock()
            .as_mut()
            .ok_or_else(session_ended)?
            .insert(id, Waiter::Waiting(sender));
        Ok(Registration {
            id,
            pending: &self.pending,
            response,
            is_sent: false,
        })
    }

    /// Sends a whole request, and waits for its response.
    pub(super) async fn exchange(
        &self,
        mut registration: Registration<'_>,
        request: Bytes,
    ) -> SftpResult<Response> {
        if !self.outgoing.send(request) {
            return Err(session_ended());
        }
        registration.is_sent = true;
        (&mut registration.response)
            .await
            .map_err(|_| session_ended())
    }
}

/// The session has ended.
pub(super) fn session_ended() -> SftpError {
    SftpError::UnexpectedBehavior("the session has ended".into())
}

impl Response {
    /// The id of its request.
    pub(super) fn id(&self) -> u32 {
        if self.kind == VERSION {
            INIT_ID
        } else {
            self.number
        }
    }

    /// Returns what follows the id, in one part.
    pub(super) fn into_body(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.body.len());
        self.body
            .into_iter()
            .for_each(|part| bytes.put_slice(&part));
        bytes.freeze()
    }

    pub(super) fn into_packet(self) -> SftpResult<Packet> {
        let mut bytes = BytesMut::with_capacity(5 + self.body.len());
        bytes.put_u8(self.kind);
        bytes.put_u32(self.number);
        self.body
            .into_iter()
            .for_each(|part| bytes.put_slice(&part));
        Packet::try_from(&mut bytes.freeze()).map_err(|_| SftpError::UnexpectedPacket)
    }
}

impl Pending {
    /// Returns whether the response with this id is of use.
    pub(super) fn need_of(&self, id: u32) -> Need {
        match self.lock().as_ref().and_then(|pending| pending.get(&id)) {
            Some(Waiter::Waiting(_)) => Need::Awaited,
            Some(Waiter::Dropped) => Need::Unneeded,
            None => Need::Unrequested,
        }
    }

    /// Passes a response to the task that waits for it, if there still is one.
    pub(super) fn deliver(&self, response: Response) {
        if let Some(Waiter::Waiting(sender)) = self
            .lock()
            .as_mut()
            .and_then(|pending| pending.remove(&response.id()))
        {
            drop(sender.send(response));
        }
    }

    /// Fails all requests, present and future.
    pub(super) fn end(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<PendingById>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.lock().as_mut()
            && let Entry::Occupied(mut waiter) = pending.entry(self.id)
        {
            // The response to a request that was sent still arrives.
            if self.is_sent {
                waiter.insert(Waiter::Dropped);
            } else {
                waiter.remove();
            }
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
            self.flush_small();
            self.parts.push(part);
        }
    }

    pub(crate) fn extend(&mut self, more: Self) {
        more.into_iter().for_each(|part| self.push(part));
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn flush_small(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }

    /// Removes the first four bytes.
    pub(super) fn take_u32(&mut self) -> Option<u32> {
        self.flush_small();
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
        self.flush_small();
        self.parts.into_iter()
    }
}
