//! One file over several connections.
//!
//! What one connection carries in a round trip is bounded by the server's window, 2 MiB with
//! OpenSSH as with our own server, and so a long way makes it slow. A large file is read or
//! written over several then, each with a handle of its own on it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;

use super::handle::{self, Handle, Target};
use super::hub::{Hub, SESSIONS};
use super::sftp::{Sftp, Transfer};

/// A connection more is worth its handshake for so many bytes.
const WORTH: u64 = 16 << 20;
/// And for so much of a round trip: with less, the processors are the bound.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// The connections that carry one file.
pub(super) struct Stripes<'a> {
    hub: &'a Hub,
    carriers: Vec<Carrier>,
    /// How a further connection opens the file.
    target: Target,
    opening: FuturesUnordered<BoxFuture<'a, Opened>>,
    /// Places of the hub that were asked for a session.
    asked: usize,
}

/// A further connection with the file, if it can be had.
type Opened = Option<(Arc<Sftp>, Handle)>;

/// One of them.
struct Carrier {
    sftp: Arc<Sftp>,
    file: Handle,
    in_flight: usize,
    _transfer: Transfer,
}

impl Carrier {
    fn new(sftp: Arc<Sftp>, file: Handle) -> Self {
        Self {
            _transfer: sftp.transfer(),
            sftp,
            file,
            in_flight: 0,
        }
    }
}

impl<'a> Stripes<'a> {
    /// The file, open on one connection.
    pub(super) fn new(hub: &'a Hub, sftp: Arc<Sftp>, file: Handle, target: Target) -> Self {
        let carriers = vec![Carrier::new(sftp, file)];
        Self {
            hub,
            carriers,
            target,
            opening: FuturesUnordered::new(),
            asked: 1,
        }
    }

    /// Begins to open it on more connections, as many as so many bytes are worth. The transfer
    /// goes on meanwhile, and does without one that cannot be had.
    pub(super) fn widen(&mut self, bytes: u64) {
        let by_size = usize::try_from(bytes / WORTH).unwrap_or(SESSIONS);
        let distance = self.carriers[0].sftp.round_trip().as_micros() / ROUND_TRIP.as_micros();
        let wanted = by_size
            .min(usize::try_from(distance).unwrap_or(SESSIONS))
            .min(SESSIONS);
        while self.asked < wanted {
            self.opening
                .push(open(self.hub, self.asked, self.target.clone()).boxed());
            self.asked += 1;
        }
        // Takes those that are open by now, and lets the others make progress.
        while let Some(Some(opened)) = self.opening.next().now_or_never() {
            if let Some((sftp, file)) = opened {
                self.carriers.push(Carrier::new(sftp, file));
                tracing::debug!(
                    connections = self.carriers.len(),
                    "a large file has one more connection"
                );
            }
        }
    }

    /// The one with the least to do, if it may have more than it has.
    pub(super) fn free(
        &mut self,
        limit: impl Fn(&Sftp) -> usize,
    ) -> Option<(usize, Arc<Sftp>, String)> {
        let (at, carrier) = self
            .carriers
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, carrier)| carrier.in_flight)?;
        if carrier.in_flight >= limit(&carrier.sftp) {
            return None;
        }
        carrier.in_flight += 1;
        Some((at, Arc::clone(&carrier.sftp), carrier.file.id().to_owned()))
    }

    /// One of this one's requests is answered.
    pub(super) fn answered(&mut self, at: usize) {
        self.carriers[at].in_flight -= 1;
    }

    /// Closes all but the first, which is given back.
    pub(super) async fn narrow(mut self) -> Result<Handle, (Arc<Sftp>, SftpError)> {
        let first = self.carriers.remove(0);
        for Carrier { sftp, file, .. } in self.carriers {
            file.close().await.map_err(|error| (sftp, error))?;
        }
        Ok(first.file)
    }
}

async fn open(hub: &Hub, place: usize, target: Target) -> Opened {
    let sftp = match hub.session_at(place).await {
        Ok(sftp) => sftp,
        Err(error) => {
            tracing::debug!(%error, "a large file goes over fewer connections");
            return None;
        }
    };
    match handle::open(&sftp, target).await {
        Ok(file) => Some((sftp, file)),
        Err(error) => {
            tracing::debug!(%error, "a large file goes over fewer connections");
            None
        }
    }
}
