//! Waits for what ends a sandbox.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use nix::sys::signalfd::SignalFd;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};
use sandbox_core::protocol::EndReason;

use super::pause_requests::PauseRequests;
use super::teardown::Teardown;
use crate::linux::protocol::Plan;
use crate::linux::record::Record;

/// The reason why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wakeup {
    /// The server process or its keeper has ended.
    ChildEnded,
    /// A signal arrived, or the client ended while it was waiting for the reply.
    Interrupted,
    /// The descriptor is readable or at its end.
    Readable,
    /// The timeout has passed.
    TimedOut,
}

/// Waits until a running sandbox ends, reaches the end of its lifetime, or a signal arrives. Returns
/// the reason; `None` if it is that of the server, which has ended. Meanwhile it pauses and resumes the sandbox for its
/// server.
pub(super) fn wait_for_end(
    plan: &Plan,
    teardown: &mut Teardown,
    signals: &SignalFd,
) -> Option<EndReason> {
    /// The interval of reading the clocks. The timeout of poll(2) does not include suspended time.
    const CLOCK_INTERVAL: Duration = Duration::from_secs(30);
    let hard_end = time_since_boot() + plan.lifetime.max_lifetime;
    loop {
        let left = soft_time_left(teardown).min(hard_end.saturating_sub(time_since_boot()));
        if left.is_zero() {
            tracing::info!("the sandbox reached the end of its lifetime");
            return Some(EndReason::Expired);
        }
        let requests = teardown.pause_requests.as_ref().map(PauseRequests::stream);
        match wait_until(Some(left.min(CLOCK_INTERVAL)), teardown, signals, requests) {
            Wakeup::TimedOut => {}
            Wakeup::Readable => {
                let requests = teardown.pause_requests.as_ref();
                if requests.is_some_and(|requests| !requests.serve_one()) {
                    teardown.pause_requests = None;
                }
            }
            Wakeup::ChildEnded => return None,
            Wakeup::Interrupted => return Some(EndReason::Terminated),
        }
    }
}

/// Waits for the end of the sandbox, a signal, the timeout or a readable descriptor.
pub(super) fn wait_until(
    timeout: Option<Duration>,
    teardown: &Teardown,
    signals: &SignalFd,
    readable: Option<BorrowedFd<'_>>,
) -> Wakeup {
    let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
    loop {
        let mut watched = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
        let child = teardown
            .child()
            .map(|child| PollFd::from_borrowed_fd(child, PollFlags::IN));
        let has_child = child.is_some();
        let has_readable = readable.is_some();
        watched.extend(child);
        // A waiting client keeps its end of this pipe open until it ends.
        let client = teardown.is_client_waiting.then(io::stdin);
        let client_index = watched.len();
        watched.extend(
            client
                .as_ref()
                .map(|client| PollFd::new(client, PollFlags::empty())),
        );
        watched.extend(readable.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut watched, timeout.as_ref()) {
            Ok(0) => return Wakeup::TimedOut,
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => {
                tracing::error!(%error, "poll failed");
                return Wakeup::Interrupted;
            }
        }
        let happened = |index: usize| {
            watched
                .get(index)
                .is_some_and(|fd| !fd.revents().is_empty())
        };
        if happened(0) || (client.is_some() && happened(client_index)) {
            return Wakeup::Interrupted;
        }
        // What the process wrote before its end has to be read first.
        if has_readable && happened(watched.len() - 1) {
            return Wakeup::Readable;
        }
        if has_child && happened(1) {
            return Wakeup::ChildEnded;
        }
    }
}

/// Reads one line of at most a mebibyte, unless the sandbox ends before.
pub(super) fn read_line(
    file: &mut std::fs::File,
    teardown: &Teardown,
    signals: &SignalFd,
) -> Result<Option<Vec<u8>>, Wakeup> {
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    while line.len() < 1 << 20 {
        match wait_until(None, teardown, signals, Some(file.as_fd())) {
            Wakeup::Readable => {}
            other => return Err(other),
        }
        match file.read(&mut chunk) {
            Ok(0) => return Ok(None),
            Ok(count) => line.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok(None),
        }
        if line.last() == Some(&b'\n') {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// Reads the soft end from the record, which a client may have replaced to extend it. If the record
/// cannot be read, only the hard end counts.
fn soft_time_left(teardown: &Teardown) -> Duration {
    match teardown.dir().map(Record::read) {
        Some(Ok(record)) => record.soft_end().map_or(Duration::MAX, |end| {
            end.duration_since(SystemTime::now())
                .unwrap_or(Duration::ZERO)
        }),
        Some(Err(error)) => {
            tracing::warn!(%error, "record not readable; only the hard end applies");
            Duration::MAX
        }
        None => Duration::MAX,
    }
}

/// Reads the clock that neither jumps nor stops while the machine is suspended.
fn time_since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or(Duration::ZERO)
}
