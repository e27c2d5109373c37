//! An SFTP session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use russh_sftp::client::error::Error as SftpError;
use sandbox_core::{Direction, Error, FileKind, FilePath};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::clock::ActivityClock;
use super::error::{SftpResult, server_error};
use super::incoming::Incoming;
use super::outgoing::Outgoing;
use super::requests::{encode_strings, file_kind};
use super::wire::Wire;
use crate::channel::Chunks;

/// Files open at once: OpenSSH allows 128, and a dropped one is closed a moment later.
const MAX_OPEN_FILES: usize = 64;
/// Bytes that every server can read or write with one request.
const BASE_LEN: u32 = 32 << 10;
/// The most bytes that OpenSSH reads or writes with one request.
const MAX_LEN: u64 = 261_120;

/// A session of SFTP version 3 (draft-ietf-secsh-filexfer-02).
pub(crate) struct Sftp {
    pub(crate) wire: Wire,
    pub(super) open_files: Arc<Semaphore>,
    /// Bytes to read with one request.
    pub(crate) read_len: u32,
    /// Bytes to write with one request.
    pub(crate) write_len: usize,
    posix_rename: bool,
    pub(crate) statvfs: bool,
    /// The server hashes its files (draft-ietf-secsh-filexfer-extensions-00, section 3).
    pub(crate) check_file: bool,
    /// The shortest round trip so far.
    round_trip_us: AtomicU64,
    transfers: AtomicUsize,
    /// The server answers no more.
    ended: CancellationToken,
    clock: Arc<ActivityClock>,
    timeout: Duration,
}

/// Counts as a transfer until dropped.
pub(crate) struct TransferGuard(Arc<Sftp>);

impl Sftp {
    /// Begins a session over a channel. A request fails if no part of any response is received for
    /// as long as `timeout`.
    pub(crate) async fn begin(
        incoming: impl Chunks + 'static,
        outgoing: Outgoing,
        timeout: Duration,
    ) -> SftpResult<Self> {
        let clock = ActivityClock::new();
        let all_sent = outgoing.finished();
        let wire = Wire::new(outgoing);
        let ended = CancellationToken::new();
        let incoming = Incoming::new(incoming, wire.pending(), Arc::clone(&clock));
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            tokio::select! {
                received = incoming.run() => if let Err(error) = received {
                    tracing::debug!(%error, "SFTP session cut off");
                },
                () = all_sent.cancelled() => {}
            }
        });
        let version = wire.init().await?;
        let has = |name: &str| version.extensions.contains_key(name);
        let mut read_len = BASE_LEN;
        let mut write_len = BASE_LEN;
        if has("limits@openssh.com")
            && let Ok(limits) = wire.limits().await
        {
            read_len = clamp_len(limits.max_read_len);
            write_len = clamp_len(limits.max_write_len);
        }
        Ok(Self {
            wire,
            open_files: Arc::new(Semaphore::new(MAX_OPEN_FILES)),
            read_len,
            write_len: write_len as usize,
            posix_rename: has("posix-rename@openssh.com"),
            statvfs: has("statvfs@openssh.com"),
            check_file: has("check-file"),
            round_trip_us: AtomicU64::new(u64::MAX),
            transfers: AtomicUsize::new(0),
            ended,
            clock,
            timeout,
        })
    }

    /// Waits for the response to a request, for as long as the server responds to any.
    pub(crate) async fn call<T>(
        &self,
        request: impl Future<Output = SftpResult<T>>,
    ) -> SftpResult<T> {
        let begun = Instant::now();
        let limit = || begun.max(self.clock.last_progress()) + self.timeout;
        tokio::pin!(request);
        loop {
            tokio::select! {
                biased;
                response = request.as_mut() => return response,
                () = sleep_until(limit()) => if Instant::now() >= limit() {
                    return Err(SftpError::Timeout);
                }
            }
        }
    }

    /// Like [`call`](Self::call), for a request that needs hardly any work, so that its duration
    /// is about a round trip.
    pub(super) async fn call_timed<T>(
        &self,
        request: impl Future<Output = SftpResult<T>>,
    ) -> SftpResult<T> {
        let begun = Instant::now();
        let response = self.call(request).await;
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.fetch_min(took, Ordering::Relaxed);
        response
    }

    /// The shortest round trip so far; zero if none was measured.
    pub(crate) fn round_trip(&self) -> Duration {
        match self.round_trip_us.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            us => Duration::from_micros(us),
        }
    }

    /// Renames a file, replacing a file of the new name; atomically if the server can.
    pub(crate) async fn replace(&self, from: &FilePath, to: &FilePath) -> SftpResult<()> {
        if self.posix_rename {
            let data = encode_strings([from.as_bytes(), to.as_bytes()])?;
            let rename = self.wire.extended_status("posix-rename@openssh.com", data);
            return self.call(rename).await;
        }
        match self.call(self.wire.rename(from, to)).await {
            // By the draft it fails if the target exists.
            Err(SftpError::Status(_)) if self.is_file(to).await => {
                self.call(self.wire.remove(to)).await?;
                self.call(self.wire.rename(from, to)).await
            }
            result => result,
        }
    }

    async fn is_file(&self, path: &FilePath) -> bool {
        self.call(self.wire.lstat(path))
            .await
            .is_ok_and(|found| file_kind(&found) != FileKind::Directory)
    }

    /// Turns a refusal or failure of the server into an error of this SDK. If the server violates
    /// the protocol or does not answer, the next caller gets another session.
    pub(crate) fn report_failure(
        &self,
        direction: Direction,
        path: &FilePath,
        error: SftpError,
    ) -> Error {
        if !matches!(error, SftpError::Status(_) | SftpError::Limited(_)) {
            self.ended.cancel();
        }
        server_error(direction, path, error)
    }

    pub(crate) fn is_usable(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(crate) fn begin_transfer(self: &Arc<Self>) -> TransferGuard {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        TransferGuard(Arc::clone(self))
    }

    /// The most requests that a transfer may have in flight: `alone` if it is the only one, and
    /// never fewer than `least`. So all transfers together need a bounded amount of memory.
    pub(crate) fn max_in_flight(&self, alone: usize, least: usize) -> usize {
        let transfers = self.transfers.load(Ordering::Relaxed).max(1);
        (4 * alone / transfers).clamp(least, alone)
    }
}

/// The length that a server allows, within our own limit; zero means that the server sets none.
fn clamp_len(limit: u64) -> u32 {
    match u32::try_from(limit.min(MAX_LEN)) {
        Ok(limit) if limit > 0 => limit,
        _ => BASE_LEN,
    }
}

impl Drop for TransferGuard {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}
