//! Which of several processes fills a pool, by one Lease that they all read and write.
//! <https://kubernetes.io/docs/concepts/architecture/leases/>
//!
//! As in client-go's `leaderelection`, no clock of another machine counts: a process measures by its own clock how
//! long it has seen a Lease unchanged, and takes it over only after the whole duration. The holder stops before that,
//! because it counts from before it sent its last renewal that succeeded.
//! <https://pkg.go.dev/k8s.io/client-go/tools/leaderelection>

use std::time::{Duration, Instant};

/// How long a Lease is valid after its last renewal.
pub(crate) const DURATION: Duration = Duration::from_secs(15);
/// The time between two renewals, and between two looks at the Lease of another process.
pub(crate) const RENEWAL_PERIOD: Duration = Duration::from_secs(5);
/// How long a holder acts without a renewal. It stops before others may begin.
pub(crate) const RENEWAL_DEADLINE: Duration = Duration::from_secs(10);

/// A Lease as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseState {
    /// The version, which changes with each write.
    pub(crate) version: String,
    /// The holder; `None` if it has given up the Lease.
    pub(crate) holder: Option<String>,
    /// How long it is valid; an invalid value counts as [`DURATION`].
    pub(crate) duration: Duration,
}

/// What a process that wants to hold the Lease does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// Create the Lease.
    Create,
    /// Write itself into this version of the Lease.
    TakeOver {
        /// The version that must not have changed.
        version: String,
    },
    /// Another process holds the Lease; look again after this time.
    Wait(Duration),
}

/// A process that wants to hold a Lease.
#[derive(Debug)]
pub(crate) struct Candidacy {
    identity: String,
    /// The latest version, and since when it has not changed.
    seen: Option<(String, Instant)>,
}

impl Candidacy {
    /// Starts for a process with this unique identity.
    pub(crate) fn new(identity: String) -> Self {
        Self {
            identity,
            seen: None,
        }
    }

    /// Returns what to do about the Lease that was read, if there is one. `now` is the time after the read.
    pub(crate) fn next_move(&mut self, lease: Option<&LeaseState>, now: Instant) -> Move {
        let Some(lease) = lease else {
            self.seen = None;
            return Move::Create;
        };
        let take_over = Move::TakeOver {
            version: lease.version.clone(),
        };
        let since = match &self.seen {
            Some((version, since)) if *version == lease.version => *since,
            _ => {
                self.seen = Some((lease.version.clone(), now));
                now
            }
        };
        match &lease.holder {
            None => take_over,
            // The response to an own write was lost.
            Some(holder) if *holder == self.identity => take_over,
            Some(_) => {
                let left = lease
                    .duration
                    .saturating_sub(now.saturating_duration_since(since));
                if left.is_zero() {
                    take_over
                } else {
                    Move::Wait(left.min(RENEWAL_PERIOD))
                }
            }
        }
    }
}

/// How long a holder may act: until [`RENEWAL_DEADLINE`] after it sent the last renewal that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tenure {
    until: Instant,
}

impl Tenure {
    /// Begins or continues with a write that was sent at this time and has succeeded.
    pub(crate) fn from_write(sent_at: Instant) -> Self {
        Self {
            until: sent_at + RENEWAL_DEADLINE,
        }
    }

    /// Returns how long the holder may still act.
    pub(crate) fn remaining(self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, holder: &str) -> LeaseState {
        LeaseState {
            version: version.into(),
            holder: (!holder.is_empty()).then(|| holder.into()),
            duration: DURATION,
        }
    }

    fn take_over(version: &str) -> Move {
        Move::TakeOver {
            version: version.into(),
        }
    }

    #[test]
    fn a_lease_is_taken_over_only_after_it_was_seen_unchanged_for_its_duration() {
        let (mut me, start) = (Candidacy::new("me".into()), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let wait = |seconds| Move::Wait(Duration::from_secs(seconds));
        assert_eq!(me.next_move(None, at(0)), Move::Create);
        assert_eq!(me.next_move(Some(&lease("1", "other")), at(0)), wait(5));
        assert_eq!(me.next_move(Some(&lease("1", "other")), at(14)), wait(1));
        // A renewal.
        assert_eq!(me.next_move(Some(&lease("2", "other")), at(15)), wait(5));
        assert_eq!(me.next_move(Some(&lease("2", "other")), at(29)), wait(1));
        assert_eq!(
            me.next_move(Some(&lease("2", "other")), at(30)),
            take_over("2")
        );
        assert_eq!(
            me.next_move(Some(&lease("3", "")), at(31)),
            take_over("3"),
            "given up"
        );
        assert_eq!(
            me.next_move(Some(&lease("4", "me")), at(32)),
            take_over("4"),
            "lost response"
        );
    }

    /// Several processes with any delays of their requests, whose responses may be lost.
    #[test]
    fn never_do_two_processes_act_at_once() {
        let mut state = 1_u64;
        let mut random = |below: u64| {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
        };
        let start = Instant::now();
        let mut successions = 0;
        for _ in 0..2_000 {
            // The stored Lease: version and holder.
            let mut stored: Option<(u64, usize)> = None;
            let mut processes: Vec<_> = (0..3)
                .map(|index| (Candidacy::new(index.to_string()), None::<Tenure>, 0))
                .collect();
            // Each second, some processes read and write. Others are away for a while.
            for second in 0..120 {
                let now = start + Duration::from_secs(second);
                for (index, process) in processes.iter_mut().enumerate() {
                    let (candidacy, tenure, away_until) = process;
                    if second < *away_until || random(4) == 0 {
                        continue;
                    }
                    if random(40) == 0 {
                        *away_until = second + random(40);
                        continue;
                    }
                    let read = stored
                        .map(|(version, holder)| lease(&version.to_string(), &holder.to_string()));
                    let next = candidacy.next_move(read.as_ref(), now);
                    if matches!(next, Move::Wait(_)) {
                        continue;
                    }
                    if stored.is_some_and(|(_, holder)| holder != index) {
                        successions += 1;
                    }
                    stored = Some((stored.map_or(1, |(version, _)| version + 1), index));
                    let is_response_lost = random(5) == 0;
                    if !is_response_lost {
                        *tenure = Some(Tenure::from_write(now));
                    }
                }
                let acting = processes.iter().filter(|(_, tenure, _)| {
                    tenure.is_some_and(|tenure| !tenure.remaining(now).is_zero())
                });
                assert!(acting.count() <= 1, "second {second}");
            }
        }
        assert!(successions > 1_000, "{successions}");
    }
}
