//! Waiting for what ends a sandbox.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::teardown::Teardown;
use crate::linux::protocol::Plan;
use crate::linux::record::Record;

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The first process inside has ended.
    Ended,
    /// A signal asked for the end, or the client is gone before there is a sandbox.
    Told,
    /// There is something to read, or nobody to write it any more.
    Readable,
    /// The time is over.
    TimedOut,
}

/// Waits for the end of a sandbox in use: its own, that of its time, or a signal. Returns the
/// exit code.
pub(super) fn for_the_end(plan: &Plan, teardown: &Teardown, signals: &SignalFd) -> u8 {
    /// The clocks are looked at this often: none wakes a poll after the machine slept.
    const LOOK: Duration = Duration::from_secs(30);
    let hard_end = since_boot() + plan.lifetime.max_lifetime;
    loop {
        let left = soft_time_left(teardown).min(hard_end.saturating_sub(since_boot()));
        if left.is_zero() {
            tracing::info!("the sandbox's time is over");
            return 0;
        }
        match until(Some(left.min(LOOK)), teardown, signals, None) {
            Outcome::TimedOut | Outcome::Readable => {}
            Outcome::Ended | Outcome::Told => return 0,
        }
    }
}

/// Waits for one of these: the end of the sandbox, a signal, something to read.
pub(super) fn until(
    time: Option<Duration>,
    teardown: &Teardown,
    signals: &SignalFd,
    readable: Option<BorrowedFd<'_>>,
) -> Outcome {
    let time = time.and_then(|time| Timespec::try_from(time).ok());
    loop {
        let mut watched = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        // Descriptors that are not there yet stand for nothing that could happen.
        let child = teardown
            .child()
            .map(|child| PollFd::from_borrowed_fd(child, PollFlags::IN));
        let (has_child, has_readable) = (child.is_some(), readable.is_some());
        watched.extend(child);
        // A client that is still to answer keeps this pipe open for as long as it lives.
        let client = teardown.client_waits.then(io::stdin);
        let client_at = watched.len();
        watched.extend(
            client
                .as_ref()
                .map(|client| PollFd::new(client, PollFlags::empty())),
        );
        watched.extend(readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut watched, time.as_ref()) {
            Ok(0) => return Outcome::TimedOut,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "could not wait");
                return Outcome::Told;
            }
        }
        let happened = |index: usize| {
            watched
                .get(index)
                .is_some_and(|fd| !fd.revents().is_empty())
        };
        if happened(0) || (client.is_some() && happened(client_at)) {
            return Outcome::Told;
        }
        // What was written before the end is read before the end is seen.
        if has_readable && happened(watched.len() - 1) {
            return Outcome::Readable;
        }
        if has_child && happened(1) {
            return Outcome::Ended;
        }
    }
}

/// Reads one line, of at most a mebibyte, for as long as the sandbox lives.
pub(super) fn line(
    from: &mut std::fs::File,
    teardown: &Teardown,
    signals: &SignalFd,
) -> Result<Option<Vec<u8>>, Outcome> {
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    while line.len() < 1 << 20 {
        match until(None, teardown, signals, Some(from.as_fd())) {
            Outcome::Readable => {}
            other => return Err(other),
        }
        match from.read(&mut piece) {
            Ok(0) => return Ok(None),
            Ok(count) => line.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(None),
        }
        if line.last() == Some(&b'\n') {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// By the record, which any client may have replaced to put the end off. A record that
/// cannot be read ends nothing: the hard end holds anyway.
fn soft_time_left(teardown: &Teardown) -> Duration {
    match teardown.dir().map(Record::read) {
        Some(Ok(record)) => record.info.expires_at.map_or(Duration::MAX, |end| {
            end.duration_since(SystemTime::now())
                .unwrap_or(Duration::ZERO)
        }),
        Some(Err(error)) => {
            tracing::warn!(%error, "the record cannot be read");
            Duration::MAX
        }
        None => Duration::MAX,
    }
}

/// The clock that neither jumps nor stops while the machine sleeps.
fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or(Duration::ZERO)
}
