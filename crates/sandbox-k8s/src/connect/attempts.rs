//! Decides when a Pod is dialled next, from the state of the Pod alone, without a clock or a socket.

use std::net::IpAddr;
use std::time::Duration;

use sandbox_core::{PoolMemberState, SandboxState};
use tokio::time::Instant;

use super::route_cache::Route;
use super::schedule::{MAX_STEP, StartupTimes};
use crate::observe::status::PodView;

/// The first and the longest pause between two attempts to reach a server that should respond.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// The time from the end of the init containers to the first attempt. No container runtime starts the next
/// container faster.
const AFTER_INIT: Duration = Duration::from_millis(80);
/// How long a running container may take to respond.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for a change of the Pod; there is nothing to dial yet.
    Wait,
    /// Wait for a change of the Pod, at most until this time.
    WaitUntil(Instant),
    DialAddress(IpAddr),
    DialPortForward,
}

/// The attempts to reach one server by one route, until it responds.
#[derive(Debug)]
pub(super) struct Attempts {
    route: Route,
    /// The server did not run at first, so its startup time can be measured.
    is_starting: bool,
    /// Since when the Pod has had a node.
    scheduled: Option<Instant>,
    /// Since when the Pod has had an address without running.
    addressed: Option<Instant>,
    /// Since when the Pod has been running.
    running: Option<Instant>,
    /// When the next attempt is due, if that is decided.
    next: Option<Instant>,
    pause: Duration,
    failures: u32,
    /// The Pod is being created for a shared pool. No caller waits for it, and early attempts would use processor time
    /// that claims on the same node need.
    is_filling: bool,
}

impl Attempts {
    pub(super) fn new(route: Route, is_starting: bool) -> Self {
        Self {
            route,
            is_starting,
            scheduled: None,
            addressed: None,
            running: None,
            next: None,
            pause: MIN_PAUSE,
            failures: 0,
            is_filling: false,
        }
    }

    /// Returns attempts to reach a server that has just been started, which a kubelet reports later.
    pub(super) fn of_running(route: Route, now: Instant) -> Self {
        Self {
            scheduled: Some(now),
            running: Some(now),
            ..Self::new(route, false)
        }
    }

    /// Takes in the current state of the Pod.
    pub(super) fn observe(&mut self, view: &PodView, now: Instant) {
        let state = view.pool.as_ref().map(|member| member.state);
        self.is_filling = state == Some(PoolMemberState::Filling);
        if view.scheduled.is_some() {
            self.scheduled.get_or_insert(now);
        }
        if view.state == SandboxState::Running && self.running.is_none() {
            // An attempt that was planned for later is due now.
            self.running = Some(now);
            self.next = None;
            self.pause = MIN_PAUSE;
        }
        if view.address.is_some() && self.running.is_none() && self.addressed.is_none() {
            // A Pod has an address before it runs if its init containers have ended and the next
            // container is about to start.
            self.addressed = Some(now);
            self.next = (self.route == Route::PortForward).then(|| now + AFTER_INIT);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Decides what to do, with the Pod as it was observed last.
    pub(super) fn next_step(
        &self,
        address: Option<IpAddr>,
        startup_times: &StartupTimes,
        now: Instant,
    ) -> Step {
        let (dial, due) = match (self.route, address, self.scheduled) {
            (Route::Direct, Some(address), _) => {
                (Step::DialAddress(address), self.next.unwrap_or(now))
            }
            (Route::PortForward, _, Some(_)) if self.is_running() => {
                (Step::DialPortForward, self.next.unwrap_or(now))
            }
            (Route::PortForward, _, Some(_)) if self.is_filling => return Step::Wait,
            (Route::PortForward, _, Some(since)) => (
                Step::DialPortForward,
                self.next
                    .unwrap_or_else(|| since + startup_times.first_attempt()),
            ),
            (Route::Direct, None, _) | (Route::PortForward, _, None) => return Step::Wait,
        };
        if due > now {
            Step::WaitUntil(due)
        } else {
            dial
        }
    }

    /// Records that the attempt that started at `started` has failed. Returns whether to try again.
    pub(super) fn record_failure(
        &mut self,
        started: Instant,
        startup_times: &StartupTimes,
        now: Instant,
    ) -> bool {
        self.failures += 1;
        if self
            .running
            .is_some_and(|since| now - since > RESPONSE_TIMEOUT)
        {
            return false;
        }
        self.next = Some(
            match (self.route, self.running, self.addressed, self.scheduled) {
                (Route::Direct, None, Some(since), _) => {
                    started + ((started - since) / 4).clamp(MIN_PAUSE, MAX_PAUSE)
                }
                (Route::PortForward, None, Some(since), _) => {
                    started + ((started - since) / 4).min(MAX_STEP)
                }
                (Route::PortForward, None, None, Some(since)) => {
                    started + startup_times.step(started - since)
                }
                _ => {
                    let doubled = (self.pause * 2).min(MAX_PAUSE);
                    now + std::mem::replace(&mut self.pause, doubled)
                }
            },
        );
        true
    }

    /// Returns how long the Pod took from its scheduling to its first response, and whether the first
    /// attempt succeeded. `None` if that says nothing about startup times.
    pub(super) fn startup_time(&self, now: Instant) -> Option<(Duration, bool)> {
        let is_measured = self.is_starting && self.route == Route::PortForward && !self.is_filling;
        self.scheduled
            .filter(|_| is_measured)
            .map(|since| (now - since, self.failures == 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::labels::membership_tests::member;
    use crate::manifest::options::Injection;
    use crate::observe::status::view::tests::view;
    use serde_json::{Value, json};

    const MS: Duration = Duration::from_millis(1);
    const ADDRESS: &str = "10.0.0.7";

    /// Observes a Pod, and fails all attempts that are due by `until`. Returns when each was due.
    fn due_times(
        attempts: &mut Attempts,
        pod: Value,
        from: Instant,
        until: Instant,
    ) -> Vec<Duration> {
        let view = view(pod);
        let startup_times = StartupTimes::new(&Injection::baked());
        let mut now = from;
        let mut due_times = Vec::new();
        attempts.observe(&view, now);
        while now <= until {
            match attempts.next_step(view.address, &startup_times, now) {
                Step::Wait => break,
                Step::WaitUntil(due) => now = due,
                Step::DialAddress(_) | Step::DialPortForward => {
                    due_times.push(now - from);
                    if !attempts.record_failure(now, &startup_times, now) {
                        break;
                    }
                }
            }
        }
        due_times
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
    fn a_direct_route_waits_for_an_address() {
        let start = Instant::now();
        let mut attempts = Attempts::new(Route::Direct, true);
        assert!(due_times(&mut attempts, json!({}), start, start + 1000 * MS).is_empty());
        assert!(due_times(&mut attempts, bound(), start, start + 1000 * MS).is_empty());
        let due = due_times(&mut attempts, addressed(), start, start + 100 * MS);
        assert_eq!(due.first(), Some(&Duration::ZERO), "{due:?}");
        assert!(
            due.windows(2).all(|two| two[1] - two[0] >= MIN_PAUSE),
            "{due:?}"
        );
        assert_eq!(
            attempts.startup_time(start),
            None,
            "only the other route measures startup times"
        );
    }

    #[test]
    fn a_port_forward_waits_for_a_node_and_changes_bring_an_attempt_forward() {
        let start = Instant::now();
        let mut attempts = Attempts::new(Route::PortForward, true);
        assert!(due_times(&mut attempts, json!({}), start, start + 1000 * MS).is_empty());
        let startup_times = StartupTimes::new(&Injection::baked());
        let due = due_times(&mut attempts, bound(), start, start + 1000 * MS);
        assert_eq!(due.first(), Some(&startup_times.first_attempt()));
        // The init containers have ended.
        let later = start + 2000 * MS;
        let due = due_times(&mut attempts, addressed(), later, later + 200 * MS);
        assert_eq!(due.first(), Some(&AFTER_INIT));
        // The Pod runs: attempts are due at once, and often.
        let later = start + 3000 * MS;
        let due = due_times(&mut attempts, running(), later, later + 100 * MS);
        assert_eq!(due[..3], [Duration::ZERO, 10 * MS, 30 * MS]);
    }

    #[test]
    fn what_fills_a_shared_pool_is_dialled_once_its_start_is_reported() {
        let filling = |status: Value| {
            let pod = member(|pod| {
                pod["metadata"]["labels"]["sandbox.dev/pool-state"] = json!("filling");
                pod["spec"]["nodeName"] = json!("n1");
                pod["status"] = status;
            });
            PodView::from_pod(&pod).unwrap()
        };
        let start = Instant::now();
        let later = start + 5000 * MS;
        let startup_times = StartupTimes::new(&Injection::baked());
        let mut attempts = Attempts::new(Route::PortForward, true);
        attempts.observe(&filling(json!({"phase": "Pending"})), start);
        assert!(attempts.scheduled.is_some());
        let step = attempts.next_step(None, &startup_times, later);
        assert_eq!(step, Step::Wait);
        let runs = json!({"phase": "Running", "containerStatuses": [{"name": "sandbox", "image": "", "imageID": "",
            "ready": true, "restartCount": 0, "state": {"running": {}}}]});
        attempts.observe(&filling(runs), later);
        let step = attempts.next_step(None, &startup_times, later);
        assert_eq!(step, Step::DialPortForward);
        assert_eq!(attempts.startup_time(later), None);
    }

    #[test]
    fn a_running_server_without_a_response_is_given_up() {
        let start = Instant::now();
        for route in [Route::Direct, Route::PortForward] {
            let mut attempts = Attempts::new(route, false);
            let due = due_times(
                &mut attempts,
                running(),
                start,
                start + Duration::from_secs(60),
            );
            let last = *due.last().unwrap();
            assert!(
                last > RESPONSE_TIMEOUT && last <= RESPONSE_TIMEOUT + MAX_PAUSE,
                "{route:?}: {last:?}"
            );
        }
    }

    #[test]
    fn only_a_start_measures_startup_times() {
        let start = Instant::now();
        for (route, is_starting, is_measured) in [
            (Route::PortForward, true, true),
            (Route::PortForward, false, false),
            (Route::Direct, true, false),
        ] {
            let mut attempts = Attempts::new(route, is_starting);
            attempts.observe(&view(bound()), start);
            let measured = attempts.startup_time(start + 300 * MS);
            assert_eq!(
                measured,
                is_measured.then_some((300 * MS, true)),
                "{route:?}"
            );
        }
    }
}
