//! An SFTP session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use russh_sftp::client::error::Error as SftpError;
use sandbox_core::{Direction, Error};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::failure::failed;
use super::incoming::{Chunks, Incoming};
use super::outgoing::Outgoing;
use super::wire::Wire;

/// Files open at once: OpenSSH has 128, and a dropped one is closed a moment later.
const HANDLES: usize = 64;
/// What every server can read or write at once.
const BASE_LEN: u32 = 32 << 10;
/// The most that OpenSSH reads or writes at once; our packets are no larger.
const MAX_LEN: u64 = 261_120;
pub(super) const MAX_PACKET: u32 = 256 << 10;

pub(super) type SftpResult<T> = Result<T, SftpError>;

/// A session of the SFTP protocol, version 3 (draft-ietf-secsh-filexfer-02).
pub(crate) struct Sftp {
    pub(super) wire: Wire,
    pub(super) handles: Arc<Semaphore>,
    /// Bytes to read with one request.
    pub(super) read_len: u32,
    /// Bytes to write with one request.
    pub(super) write_len: usize,
    pub(super) posix_rename: bool,
    pub(super) statvfs: bool,
    /// It tells hashes of its files (draft-ietf-secsh-filexfer-extensions-00, section 3).
    pub(super) check_file: bool,
    /// The shortest round trip so far.
    round_trip_us: AtomicU64,
    transfers: AtomicUsize,
    /// It answers no more.
    ended: CancellationToken,
    progress: Arc<Progress>,
    patience: Duration,
}

/// When something last came from the server.
#[derive(Debug)]
pub(crate) struct Progress {
    epoch: Instant,
    last_ms: AtomicU64,
}

/// Counts as a transfer until dropped.
pub(super) struct Transfer(Arc<Sftp>);

impl Sftp {
    /// Begins a session on a channel that keeps `progress`. No answer for as long as `patience`
    /// ends it.
    pub(super) async fn begin(
        incoming: impl Chunks + 'static,
        outgoing: Outgoing,
        progress: Arc<Progress>,
        patience: Duration,
    ) -> SftpResult<Self> {
        let sent = outgoing.sent();
        let wire = Wire::new(outgoing);
        let ended = CancellationToken::new();
        let (incoming, end) = (
            Incoming::new(incoming, wire.waiting()),
            ended.clone().drop_guard(),
        );
        tokio::spawn(async move {
            let _end = end;
            tokio::select! {
                came = incoming.run() => if let Err(error) = came {
                    tracing::debug!(%error, "a session for files was cut");
                },
                () = sent.cancelled() => {}
            }
        });
        let version = wire.init().await?;
        let has = |name: &str| version.extensions.contains_key(name);
        let (mut read_len, mut write_len) = (BASE_LEN, BASE_LEN);
        if has("limits@openssh.com")
            && let Ok(limits) = wire.limits().await
        {
            (read_len, write_len) = (at_most(limits.max_read_len), at_most(limits.max_write_len));
        }
        Ok(Self {
            wire,
            handles: Arc::new(Semaphore::new(HANDLES)),
            read_len,
            write_len: write_len as usize,
            posix_rename: has("posix-rename@openssh.com"),
            statvfs: has("statvfs@openssh.com"),
            check_file: has("check-file"),
            round_trip_us: AtomicU64::new(u64::MAX),
            transfers: AtomicUsize::new(0),
            ended,
            progress,
            patience,
        })
    }

    /// Waits for an answer, as long as any come.
    pub(super) async fn call<T>(
        &self,
        request: impl Future<Output = SftpResult<T>>,
    ) -> SftpResult<T> {
        let begun = Instant::now();
        let limit = || begun.max(self.progress.last()) + self.patience;
        tokio::pin!(request);
        loop {
            tokio::select! {
                biased;
                answer = request.as_mut() => return answer,
                () = sleep_until(limit()) => if Instant::now() >= limit() {
                    return Err(SftpError::Timeout);
                }
            }
        }
    }

    /// Waits for an answer that is work of moments, and takes its time for a round trip's.
    pub(super) async fn timed<T>(
        &self,
        request: impl Future<Output = SftpResult<T>>,
    ) -> SftpResult<T> {
        let begun = Instant::now();
        let answer = self.call(request).await;
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.round_trip_us.fetch_min(took, Ordering::Relaxed);
        answer
    }

    /// The shortest round trip so far; zero when none was seen.
    pub(super) fn round_trip(&self) -> Duration {
        match self.round_trip_us.load(Ordering::Relaxed) {
            u64::MAX => Duration::ZERO,
            us => Duration::from_micros(us),
        }
    }

    /// A refusal or failure of the server, in the words of this SDK. When the server does
    /// not answer as it should, the next caller gets another session.
    pub(super) fn failed(&self, direction: Direction, path: &str, error: SftpError) -> Error {
        if !matches!(error, SftpError::Status(_) | SftpError::Limited(_)) {
            self.ended.cancel();
        }
        failed(direction, path, error)
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) fn transfer(self: &Arc<Self>) -> Transfer {
        self.transfers.fetch_add(1, Ordering::Relaxed);
        Transfer(Arc::clone(self))
    }

    /// How many requests a transfer may have in flight: `alone` when it is the only one, and
    /// no fewer than `least`, so that all together need a bounded amount of memory.
    pub(super) fn in_flight(&self, alone: usize, least: usize) -> usize {
        let transfers = self.transfers.load(Ordering::Relaxed).max(1);
        (4 * alone / transfers).clamp(least, alone)
    }
}

/// As much as a server allows that tells, and every one where it does not.
fn at_most(limit: u64) -> u32 {
    match u32::try_from(limit.min(MAX_LEN)) {
        Ok(limit) if limit > 0 => limit,
        _ => BASE_LEN,
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        self.0.transfers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Progress {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            epoch: Instant::now(),
            last_ms: AtomicU64::new(0),
        })
    }

    /// Something came.
    pub(crate) fn note(&self) {
        let now = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(now, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.epoch + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }
}
