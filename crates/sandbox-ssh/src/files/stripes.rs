//! One file over several connections.
//!
//! In one round trip, a connection carries at most the server's window, which is 2 MiB with OpenSSH
//! and sandbox-sshd. So where round trips are long, a large file is read or written over several
//! connections, each of which opens it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;

use crate::sftp::{MAX_SESSIONS, OpenMode, RemoteFile, Sftp, SftpPool, TransferGuard};

/// Bytes that are worth the handshake of a further connection.
const MIN_BYTES_PER_STRIPE: u64 = 16 << 20;
/// The part of a round trip that is worth it. Where round trips are shorter, the processors are the
/// bottleneck.
const ROUND_TRIP_PER_STRIPE: Duration = Duration::from_millis(2);

/// The connections that carry one file.
pub(super) struct Stripes<'a> {
    sessions: &'a SftpPool,
    stripes: Vec<Stripe>,
    /// How further connections open the file.
    mode: OpenMode,
    opening: FuturesUnordered<BoxFuture<'a, Opened>>,
    /// The sessions that were requested so far.
    requested: usize,
}

/// The file on a further connection, if that could be opened.
type Opened = Option<(Arc<Sftp>, RemoteFile)>;

/// The file on one connection.
struct Stripe {
    sftp: Arc<Sftp>,
    file: RemoteFile,
    in_flight: usize,
    _transfer: TransferGuard,
}

impl Stripe {
    fn new(sftp: Arc<Sftp>, file: RemoteFile) -> Self {
        Self {
            _transfer: sftp.begin_transfer(),
            sftp,
            file,
            in_flight: 0,
        }
    }
}

impl<'a> Stripes<'a> {
    /// A file that is open on one connection.
    pub(super) fn new(
        sessions: &'a SftpPool,
        sftp: Arc<Sftp>,
        file: RemoteFile,
        mode: OpenMode,
    ) -> Self {
        let stripes = vec![Stripe::new(sftp, file)];
        Self {
            sessions,
            stripes,
            mode,
            opening: FuturesUnordered::new(),
            requested: 1,
        }
    }

    /// Begins to open the file on more connections, as many as this number of bytes is worth. The
    /// transfer continues meanwhile. If a connection fails, the transfer works without it.
    pub(super) fn widen(&mut self, bytes: u64) {
        let by_size = usize::try_from(bytes / MIN_BYTES_PER_STRIPE).unwrap_or(MAX_SESSIONS);
        let distance =
            self.stripes[0].sftp.round_trip().as_micros() / ROUND_TRIP_PER_STRIPE.as_micros();
        let wanted = by_size
            .min(usize::try_from(distance).unwrap_or(MAX_SESSIONS))
            .min(MAX_SESSIONS);
        while self.requested < wanted {
            let opening = open(self.sessions, self.requested, self.mode.clone());
            self.opening.push(opening.boxed());
            self.requested += 1;
        }
        // Take the connections that are open by now; the poll lets the others make progress.
        while let Some(Some(opened)) = self.opening.next().now_or_never() {
            if let Some((sftp, file)) = opened {
                self.stripes.push(Stripe::new(sftp, file));
                tracing::debug!(
                    connections = self.stripes.len(),
                    "connection added to a large file"
                );
            }
        }
    }

    /// Counts a request on the stripe with the fewest requests in flight; `None` if even that has as
    /// many as `limit` allows. Returns the index of the stripe, its session and its handle.
    pub(super) fn begin_request(
        &mut self,
        limit: impl Fn(&Sftp) -> usize,
    ) -> Option<(usize, Arc<Sftp>, String)> {
        let (index, stripe) = self
            .stripes
            .iter_mut()
            .enumerate()
            .min_by_key(|(_, stripe)| stripe.in_flight)?;
        if stripe.in_flight >= limit(&stripe.sftp) {
            return None;
        }
        stripe.in_flight += 1;
        Some((
            index,
            Arc::clone(&stripe.sftp),
            stripe.file.handle().to_owned(),
        ))
    }

    /// Uncounts a request of this stripe.
    pub(super) fn end_request(&mut self, index: usize) {
        self.stripes[index].in_flight -= 1;
    }

    /// Closes the file on all connections but the first, and returns that one.
    pub(super) async fn narrow(mut self) -> Result<RemoteFile, (Arc<Sftp>, SftpError)> {
        let first = self.stripes.remove(0);
        for Stripe { sftp, file, .. } in self.stripes {
            file.close().await.map_err(|error| (sftp, error))?;
        }
        Ok(first.file)
    }
}

async fn open(sessions: &SftpPool, index: usize, mode: OpenMode) -> Opened {
    let sftp = match sessions.session_at(index).await {
        Ok(sftp) => sftp,
        Err(error) => {
            tracing::debug!(%error, "large file uses fewer connections");
            return None;
        }
    };
    match RemoteFile::open(&sftp, mode).await {
        Ok(file) => Some((sftp, file)),
        Err(error) => {
            tracing::debug!(%error, "large file uses fewer connections");
            None
        }
    }
}
