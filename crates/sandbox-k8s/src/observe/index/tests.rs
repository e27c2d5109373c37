mod own_pause;

use super::pending_writes::{CONFIRM_AFTER, TOMBSTONE_TTL};
use super::*;
use crate::observe::status::{PodView, judge_waiting};
use sandbox_core::SandboxState;
use serde_json::json;
use std::time::Duration;

/// A Pod's view: name, uid, version, state (`Pending` or `Running`), soft end and creation.
fn pod(name: &str, uid: &str, version: &str, phase: &str, ends: &str, created: u32) -> PodView {
    let state = if phase == "Running" {
        json!({"running": {}})
    } else {
        json!({"waiting": {}})
    };
    let pod = json!({
        "metadata": {
            "name": name, "uid": uid, "resourceVersion": version,
            "creationTimestamp": format!("2026-01-01T00:00:{created:02}Z"),
            "labels": {"sandbox.dev/managed-by": "sandbox-sdk", "sandbox.dev/id": name},
            "annotations": {"sandbox.dev/owner-uid": "s", "sandbox.dev/ends-after": ends},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Secret", "name": format!("{name}-keys"), "uid": "s"}],
        },
        "spec": {"containers": [{"name": "sandbox"}], "activeDeadlineSeconds": 9999},
        "status": {"phase": phase, "containerStatuses": [
            {"name": "sandbox", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state}]},
    });
    PodView::from_pod(&serde_json::from_value(pod).unwrap()).unwrap()
}

fn a(version: &str, phase: &str) -> PodView {
    pod("sbx-a", "a1", version, phase, "60", 0)
}

struct Run {
    index: Index,
    now: Instant,
}

impl Run {
    /// An index that is live, with these.
    fn with_pods(views: impl IntoIterator<Item = PodView>) -> Self {
        let mut run = Self {
            index: Index::default(),
            now: Instant::now(),
        };
        run.list(views);
        run
    }

    fn apply(&mut self, event: Event) -> usize {
        self.index.apply(event, self.now).len()
    }

    fn list(&mut self, views: impl IntoIterator<Item = PodView>) -> usize {
        self.apply(Event::Init);
        for view in views {
            self.apply(Event::InitApply(view));
        }
        self.apply(Event::InitDone)
    }

    fn record_write(&mut self, view: PodView) -> usize {
        self.index.record_write(view, self.now).len()
    }

    fn record_read(&mut self, view: PodView) -> usize {
        self.index.record_read(view).len()
    }

    fn record_deletion(&mut self, uid: &Uid) -> usize {
        self.index.record_deletion(uid, self.now).len()
    }

    fn record_absence(&mut self, uid: &Uid) -> usize {
        self.index.record_absence(uid, self.now).len()
    }

    fn look_up(&self, name: &str) -> Lookup {
        self.index.look_up(&name.parse().unwrap())
    }

    fn view(&self, name: &str) -> Arc<PodView> {
        match self.look_up(name) {
            Lookup::Present(view) => view,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn state(&self, name: &str) -> SandboxState {
        self.view(name).state
    }

    fn soft(&self, name: &str) -> u64 {
        let view = self.view(name);
        view.ends
            .soft
            .duration_since(view.created_at)
            .unwrap()
            .as_secs()
    }
}

/// `a` with a container that waits for this reason.
fn waiting_a(version: &str, reason: &str, message: &str) -> PodView {
    let mut view = a(version, "Pending");
    let waiting = json!({"reason": reason, "message": message});
    view.problem = judge_waiting(&serde_json::from_value(waiting).unwrap());
    view
}

#[test]
fn a_cause_is_known_until_there_is_another_or_none() {
    let refused = "failed to pull image: dial tcp 127.0.0.1:1: connection refused";
    let problem = |run: &Run| run.view("sbx-a").problem.clone();
    let message = |run: &Run| problem(run).unwrap().message;
    let mut run = Run::with_pods([a("1", "Pending")]);
    run.apply(Event::Apply(waiting_a(
        "2",
        "ImagePullBackOff",
        "Back-off pulling image",
    )));
    assert_eq!(message(&run), "Back-off pulling image");
    run.apply(Event::Apply(waiting_a("3", "ErrImagePull", refused)));
    let cause = message(&run);
    assert!(cause.starts_with(refused), "{cause}");
    let waits = waiting_a("4", "ImagePullBackOff", "Back-off pulling image");
    run.apply(Event::Apply(waits.clone()));
    assert_eq!(message(&run), cause);
    // A list after an interruption and a read show the same.
    run.list([waits.clone()]);
    let mut read = waits;
    run.index.recall_cause(&mut read);
    assert_eq!(read.problem, problem(&run));
    assert_eq!(run.record_read(read), 0);
    let other = waiting_a("5", "ErrImagePull", "503 Service Unavailable");
    run.apply(Event::Apply(other));
    assert_eq!(message(&run), "503 Service Unavailable");
    // A problem of another kind has its own message, and one that is over is forgotten.
    run.apply(Event::Apply(waiting_a("6", "SomethingNew", "Error: new")));
    assert_eq!(message(&run), "Error: new");
    run.apply(Event::Apply(a("7", "Running")));
    assert_eq!(problem(&run), None);
    run.apply(Event::Apply(waiting_a(
        "8",
        "ImagePullBackOff",
        "Back-off pulling image",
    )));
    assert_eq!(message(&run), "Back-off pulling image");
}

#[test]
fn nothing_is_decided_before_the_first_list() {
    let mut run = Run {
        index: Index::default(),
        now: Instant::now(),
    };
    assert_eq!(
        (run.look_up("sbx-a"), run.index.views()),
        (Lookup::Unknown, None)
    );
    run.apply(Event::Init);
    run.apply(Event::InitApply(a("1", "Pending")));
    assert_eq!(run.look_up("sbx-b"), Lookup::Unknown);
    run.apply(Event::InitDone);
    assert_eq!(
        (run.state("sbx-a"), run.look_up("sbx-b")),
        (SandboxState::Pending, Lookup::Missing)
    );
    assert_eq!(run.index.views().unwrap().len(), 1);
    assert_eq!(run.index.health(), &Health::Live);
}

#[test]
fn an_own_creation_is_visible_before_the_watch_shows_it() {
    let mut run = Run::with_pods([]);
    run.record_write(a("1", "Pending"));
    assert_eq!(run.state("sbx-a"), SandboxState::Pending);
    // A list that is older than the write does not revert it.
    run.list([]);
    assert_eq!(run.state("sbx-a"), SandboxState::Pending);
    // Once the watch has shown it, the watch decides.
    run.apply(Event::Apply(a("2", "Running")));
    assert_eq!(run.state("sbx-a"), SandboxState::Running);
    run.list([]);
    assert_eq!(run.look_up("sbx-a"), Lookup::Missing);
}

#[test]
fn a_response_after_the_event_reverts_nothing() {
    let mut run = Run::with_pods([]);
    run.apply(Event::Apply(a("2", "Running")));
    run.record_write(a("1", "Pending"));
    assert_eq!(run.state("sbx-a"), SandboxState::Running);
    run.now += CONFIRM_AFTER;
    assert_eq!(run.index.unconfirmed_writes(run.now), []);
}

#[test]
fn an_extended_end_stays_extended() {
    let mut run = Run::with_pods([a("1", "Running")]);
    let extended = pod("sbx-a", "a1", "5", "Running", "600", 0);
    run.record_write(extended.clone());
    assert_eq!(run.soft("sbx-a"), 600);
    // An older version arrives late: its state counts, its end does not.
    run.apply(Event::Apply(a("4", "Pending")));
    assert_eq!(
        (run.soft("sbx-a"), run.state("sbx-a")),
        (600, SandboxState::Pending)
    );
    run.apply(Event::Apply(extended));
    // Another client shortens it. The watch has shown the own write, so the other one counts.
    run.apply(Event::Apply(pod("sbx-a", "a1", "6", "Running", "30", 0)));
    assert_eq!(run.soft("sbx-a"), 30);
}

#[test]
fn a_write_that_is_never_shown_is_confirmed_by_a_request() {
    let mut run = Run::with_pods([a("1", "Running")]);
    run.record_write(pod("sbx-a", "a1", "5", "Running", "600", 0));
    run.record_write(pod("sbx-b", "b1", "6", "Pending", "60", 0));
    assert_eq!(run.index.unconfirmed_writes(run.now), []);
    run.now += CONFIRM_AFTER;
    let mut overdue = run.index.unconfirmed_writes(run.now);
    overdue.sort();
    assert_eq!(
        overdue
            .iter()
            .map(|(id, _)| id.as_str())
            .collect::<Vec<_>>(),
        ["sbx-a", "sbx-b"]
    );
    assert_eq!(run.index.unconfirmed_writes(run.now), [], "returned once");
    // One exists, with another end by now; the other does not.
    run.record_read(pod("sbx-a", "a1", "9", "Pending", "900", 0));
    assert_eq!(
        (run.soft("sbx-a"), run.state("sbx-a")),
        (900, SandboxState::Running)
    );
    run.record_absence(&Uid::new("b1"));
    assert_eq!(run.look_up("sbx-b"), Lookup::Missing);
    run.now += CONFIRM_AFTER;
    assert_eq!(run.index.unconfirmed_writes(run.now), []);
}

#[test]
fn a_deleted_instance_is_not_restored() {
    let mut run = Run::with_pods([a("1", "Running")]);
    run.record_deletion(&Uid::new("a1"));
    assert_eq!(
        (run.state("sbx-a"), run.view("sbx-a").deleting),
        (SandboxState::Ended, true)
    );
    run.apply(Event::Apply(a("2", "Running")));
    assert_eq!(run.state("sbx-a"), SandboxState::Ended);
    run.apply(Event::Delete(Uid::new("a1")));
    assert_eq!(run.look_up("sbx-a"), Lookup::Missing);
    // Late events and late lists.
    run.apply(Event::Apply(a("3", "Running")));
    run.list([a("2", "Running")]);
    run.record_write(a("2", "Running"));
    run.record_read(a("2", "Running"));
    assert_eq!(
        (run.look_up("sbx-a"), run.index.views().unwrap()),
        (Lookup::Missing, Vec::new())
    );
    assert_eq!(run.index.look_up_instance(&Uid::new("a1")), Lookup::Missing);
    // Another instance of that name is independent.
    run.apply(Event::Apply(pod("sbx-a", "a2", "9", "Pending", "60", 1)));
    assert_eq!(run.view("sbx-a").uid.as_str(), "a2");
}

#[test]
fn what_a_list_does_not_name_was_deleted() {
    let mut run = Run::with_pods([
        a("1", "Running"),
        pod("sbx-b", "b1", "1", "Running", "60", 0),
    ]);
    let waiter = run.index.wait_for(Uid::new("a1"));
    run.apply(Event::Init);
    run.apply(Event::InitApply(pod(
        "sbx-b", "b1", "1", "Running", "60", 0,
    )));
    assert_eq!(
        run.state("sbx-a"),
        SandboxState::Running,
        "until the list is complete"
    );
    assert_eq!(run.index.apply(Event::InitDone, run.now), [waiter]);
    assert_eq!(run.look_up("sbx-a"), Lookup::Missing);
    assert_eq!(run.state("sbx-b"), SandboxState::Running);
}

#[test]
fn an_interrupted_list_deletes_nothing() {
    let mut run = Run::with_pods([a("1", "Running")]);
    run.apply(Event::Init);
    run.apply(Event::Failed("cut".into()));
    run.apply(Event::InitDone);
    assert_eq!(run.state("sbx-a"), SandboxState::Running);
    run.apply(Event::Init);
    run.apply(Event::Init);
    run.apply(Event::InitApply(a("1", "Running")));
    run.apply(Event::InitDone);
    assert_eq!(run.state("sbx-a"), SandboxState::Running);
}

#[test]
fn waiters_are_woken_for_their_own_instance_only() {
    let mut run = Run::with_pods([
        a("1", "Pending"),
        pod("sbx-b", "b1", "1", "Pending", "60", 0),
    ]);
    let first = run.index.wait_for(Uid::new("a1"));
    let second = run.index.wait_for(Uid::new("a1"));
    let other = run.index.wait_for(Uid::new("b1"));
    assert_eq!(
        run.index.apply(Event::Apply(a("2", "Running")), run.now),
        [first.clone(), second.clone()]
    );
    assert_eq!(
        run.apply(Event::Apply(a("2", "Running"))),
        0,
        "the same event twice"
    );
    run.index.cancel_wait(&first);
    assert_eq!(run.index.record_absence(&Uid::new("b1"), run.now), [other]);
    assert_eq!(
        run.index.apply(Event::Delete(Uid::new("a1")), run.now),
        [second]
    );
    assert_eq!(
        run.list([]),
        2,
        "every waiter repeats its lookup after a list"
    );
}

#[test]
fn another_instance_of_the_name_ends_the_wait_for_the_first() {
    let mut run = Run::with_pods([a("1", "Running")]);
    let waiter = run.index.wait_for(Uid::new("a1"));
    let second = pod("sbx-a", "a2", "9", "Pending", "60", 1);
    assert_eq!(run.index.apply(Event::Apply(second), run.now), [waiter]);
    assert_eq!(run.index.look_up_instance(&Uid::new("a1")), Lookup::Missing);
    // An event of the first one arrives late.
    assert_eq!(run.apply(Event::Apply(a("2", "Running"))), 0);
    assert_eq!(run.view("sbx-a").uid.as_str(), "a2");
}

#[test]
fn without_a_watch_the_index_is_degraded() {
    let mut run = Run::with_pods([a("1", "Running")]);
    let waiter = run.index.wait_for(Uid::new("a1"));
    let forbidden = || Event::Failed("no right to watch pods".into());
    assert_eq!(run.apply(forbidden()) + run.apply(forbidden()), 0);
    assert_eq!(
        run.state("sbx-a"),
        SandboxState::Running,
        "too few failures"
    );
    assert_eq!(run.index.apply(forbidden(), run.now), [waiter]);
    assert_eq!(
        run.index.health(),
        &Health::Degraded("no right to watch pods".into())
    );
    assert_eq!(
        (
            run.look_up("sbx-a"),
            run.look_up("sbx-b"),
            run.index.views()
        ),
        (Lookup::Unknown, Lookup::Unknown, None)
    );
    assert_eq!(run.apply(forbidden()), 0, "the waiters were woken before");
    // The watch continues from its position.
    run.apply(Event::Apply(a("2", "Running")));
    assert_eq!(
        (run.index.health(), run.state("sbx-a")),
        (&Health::Live, SandboxState::Running)
    );
}

#[test]
fn deleted_instances_are_forgotten_in_the_end() {
    let mut run = Run::with_pods([]);
    run.record_absence(&Uid::new("a1"));
    run.index
        .unconfirmed_writes(run.now + TOMBSTONE_TTL - Duration::from_secs(1));
    run.apply(Event::Apply(a("1", "Running")));
    assert_eq!(run.look_up("sbx-a"), Lookup::Missing);
    run.index.unconfirmed_writes(run.now + TOMBSTONE_TTL);
    run.apply(Event::Apply(a("1", "Running")));
    assert_eq!(run.state("sbx-a"), SandboxState::Running);
}
