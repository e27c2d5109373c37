//! When a Pod is dialled next: decided by what is known of it, without a clock or a socket.

use std::net::IpAddr;
use std::time::Duration;

use sandbox_core::SandboxState;
use tokio::time::Instant;

use super::route_cache::Route;
use super::schedule::{STEP, StartupTimes};
use crate::observe::status::PodView;

/// Between two attempts at what should answer, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// From the end of a Pod's first containers to the earliest word of the next: a runtime takes longer.
const SOON: Duration = Duration::from_millis(80);
/// How long a container that runs may go without answering.
pub(super) const SILENT: Duration = Duration::from_secs(5);

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// There is nothing to dial yet.
    Wait,
    /// An attempt is not worth it before.
    WaitUntil(Instant),
    DialAddress(IpAddr),
    DialPortForward,
}

/// One server that is dialled, by one way, until it answers.
#[derive(Debug)]
pub(super) struct Attempts {
    way: Route,
    /// It was not running when it was first seen: how long it takes can be learned.
    starts: bool,
    /// Since when it has had a machine, an address while it did not run, and since when it runs.
    scheduled: Option<Instant>,
    addressed: Option<Instant>,
    running: Option<Instant>,
    /// When the next attempt is due, where that was decided.
    next: Option<Instant>,
    pause: Duration,
    attempts: u32,
}

impl Attempts {
    pub(super) fn new(way: Route, starts: bool) -> Self {
        Self {
            way,
            starts,
            scheduled: None,
            addressed: None,
            running: None,
            next: None,
            pause: PAUSE.0,
            attempts: 0,
        }
    }

    /// Takes note of the Pod as it is now.
    pub(super) fn see(&mut self, view: &PodView, now: Instant) {
        if view.scheduled.is_some() {
            self.scheduled.get_or_insert(now);
        }
        if view.state == SandboxState::Running && self.running.is_none() {
            // What was expected later is due now.
            (self.running, self.next, self.pause) = (Some(now), None, PAUSE.0);
        }
        if view.address.is_some() && self.running.is_none() && self.addressed.is_none() {
            // A Pod has an address before it runs because its first containers have done their
            // work, and the next is on its way.
            self.addressed = Some(now);
            self.next = (self.way == Route::PortForward).then(|| now + SOON);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// What to do with the Pod as it was seen last.
    pub(super) fn step(&self, address: Option<IpAddr>, pace: &StartupTimes, now: Instant) -> Step {
        let (dial, due) = match (self.way, address, self.scheduled) {
            (Route::Direct, Some(address), _) => {
                (Step::DialAddress(address), self.next.unwrap_or(now))
            }
            (Route::PortForward, _, Some(_)) if self.is_running() => {
                (Step::DialPortForward, self.next.unwrap_or(now))
            }
            (Route::PortForward, _, Some(since)) => (
                Step::DialPortForward,
                self.next.unwrap_or_else(|| since + pace.begin()),
            ),
            (Route::Direct, None, _) | (Route::PortForward, _, None) => return Step::Wait,
        };
        if due > now {
            Step::WaitUntil(due)
        } else {
            dial
        }
    }

    /// An attempt that began then has failed. Returns whether another is worth it.
    pub(super) fn failed(&mut self, begun: Instant, pace: &StartupTimes, now: Instant) -> bool {
        self.attempts += 1;
        if self.running.is_some_and(|since| now - since > SILENT) {
            return false;
        }
        self.next = Some(
            match (self.way, self.running, self.addressed, self.scheduled) {
                (Route::Direct, None, Some(since), _) => {
                    begun + ((begun - since) / 4).clamp(PAUSE.0, PAUSE.1)
                }
                (Route::PortForward, None, Some(since), _) => {
                    begun + ((begun - since) / 4).min(STEP.1)
                }
                (Route::PortForward, None, None, Some(since)) => begun + pace.step(begun - since),
                _ => {
                    let doubled = (self.pause * 2).min(PAUSE.1);
                    now + std::mem::replace(&mut self.pause, doubled)
                }
            },
        );
        true
    }

    /// It has answered: so long after it had a machine, and whether at the first attempt. `None`
    /// where that says nothing of how long Pods take to start.
    pub(super) fn answered(&self, now: Instant) -> Option<(Duration, bool)> {
        let learns = self.starts && self.way == Route::PortForward;
        self.scheduled
            .filter(|_| learns)
            .map(|since| (now - since, self.attempts == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::options::Injection;
    use crate::observe::status::view::tests::view;
    use serde_json::{Value, json};

    const MS: Duration = Duration::from_millis(1);
    const ADDRESS: &str = "10.0.0.7";

    /// Shows a Pod, and dials until nothing more is due by `until`; when each attempt was made, all of which fail.
    fn attempts(
        dialling: &mut Attempts,
        shown: Value,
        from: Instant,
        until: Instant,
    ) -> Vec<Duration> {
        let (view, pace) = (view(shown), StartupTimes::new(&Injection::baked()));
        let (mut now, mut made) = (from, Vec::new());
        dialling.see(&view, now);
        while now <= until {
            match dialling.step(view.address, &pace, now) {
                Step::Wait => break,
                Step::WaitUntil(due) => now = due,
                Step::DialAddress(_) | Step::DialPortForward => {
                    made.push(now - from);
                    if !dialling.failed(now, &pace, now) {
                        break;
                    }
                }
            }
        }
        made
    }

    fn bound() -> Value {
        json!({"nodeName": "n1"})
    }

    fn addressed() -> Value {
        json!({"nodeName": "n1", "podIP": ADDRESS})
    }

    fn running() -> Value {
        json!({"nodeName": "n1", "podIP": ADDRESS, "phase": "Running", "state": {"running": {}}})
    }

    #[test]
    fn an_address_is_waited_for_where_it_is_dialled() {
        let start = Instant::now();
        let mut dialling = Attempts::new(Route::Direct, true);
        assert!(attempts(&mut dialling, json!({}), start, start + 1000 * MS).is_empty());
        assert!(attempts(&mut dialling, bound(), start, start + 1000 * MS).is_empty());
        let made = attempts(&mut dialling, addressed(), start, start + 100 * MS);
        assert_eq!(made.first(), Some(&Duration::ZERO), "{made:?}");
        assert!(
            made.windows(2).all(|two| two[1] - two[0] >= PAUSE.0),
            "{made:?}"
        );
        assert_eq!(
            dialling.answered(start),
            None,
            "the pace is of the other way"
        );
    }

    #[test]
    fn a_machine_is_enough_for_the_api_server_and_news_bring_an_attempt_forward() {
        let start = Instant::now();
        let mut dialling = Attempts::new(Route::PortForward, true);
        assert!(attempts(&mut dialling, json!({}), start, start + 1000 * MS).is_empty());
        let pace = StartupTimes::new(&Injection::baked());
        let made = attempts(&mut dialling, bound(), start, start + 1000 * MS);
        assert_eq!(made.first(), Some(&pace.begin()));
        // Its first containers are done.
        let later = start + 2000 * MS;
        let made = attempts(&mut dialling, addressed(), later, later + 200 * MS);
        assert_eq!(made.first(), Some(&SOON));
        // It runs: what comes next is due now, and often.
        let later = start + 3000 * MS;
        let made = attempts(&mut dialling, running(), later, later + 100 * MS);
        assert_eq!(made[..3], [Duration::ZERO, 10 * MS, 30 * MS]);
    }

    #[test]
    fn what_runs_and_does_not_answer_is_given_up() {
        let start = Instant::now();
        for way in [Route::Direct, Route::PortForward] {
            let mut dialling = Attempts::new(way, false);
            let made = attempts(
                &mut dialling,
                running(),
                start,
                start + Duration::from_secs(60),
            );
            let last = *made.last().unwrap();
            assert!(
                last > SILENT && last <= SILENT + PAUSE.1,
                "{way:?}: {last:?}"
            );
        }
    }

    #[test]
    fn only_a_start_teaches_how_long_starts_take() {
        let start = Instant::now();
        for (way, starts, learned) in [
            (Route::PortForward, true, true),
            (Route::PortForward, false, false),
            (Route::Direct, true, false),
        ] {
            let mut dialling = Attempts::new(way, starts);
            dialling.see(&view(bound()), start);
            let taught = dialling.answered(start + 300 * MS);
            assert_eq!(taught, learned.then_some((300 * MS, true)), "{way:?}");
        }
    }
}
