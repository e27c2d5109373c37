//! Tests of the plan, which does no I/O.

use std::sync::Arc;

use sandbox_core::{Access, Endpoint, Isolation, KeyPair, PoolMember};

use super::*;
use crate::shared_pool::member::Attached;

const HOUR: Duration = Duration::from_secs(3600);

fn key(byte: u8) -> PoolKey {
    PoolKey::from_digest(&[byte; 32])
}

fn instance(id: &str) -> Instance {
    Instance {
        id: id.parse().unwrap(),
        uid: Uid::new(format!("uid-of-{id}")),
    }
}

fn listed(id: &str, pool_key: u8, state: PoolMemberState) -> SandboxInfo {
    let Instance { id, uid } = instance(id);
    SandboxInfo {
        id,
        uid,
        backend: "mock".into(),
        state: SandboxState::Running,
        address: None,
        port: None,
        user: "sandbox".into(),
        home: None,
        image: None,
        labels: Default::default(),
        annotations: Default::default(),
        created_at: SystemTime::now(),
        expires_at: None,
        on_expiry: Default::default(),
        is_marked_paused: false,
        isolation: Isolation {
            kind: "pod".into(),
            applied: vec![],
        },
        limits: vec![],
        end: None,
        pool: Some(PoolMember {
            name: "ci".parse().unwrap(),
            key: key(pool_key),
            state,
        }),
    }
}

/// Ones that wait since these times before now.
fn attached(ones: &[(&str, Duration)], now: Instant) -> Members {
    let mut members = Members::default();
    for (id, age) in ones {
        let Instance { id, uid } = instance(id);
        let keys = KeyPair::generate().unwrap();
        let access = Access {
            id,
            uid: uid.clone(),
            user: "sandbox".into(),
            host_key: keys.public,
            client_key: keys.private,
            endpoint: Endpoint::Memory("mock".into()),
        };
        members.insert(Attached::new(Arc::new(access), now - *age, true));
        members.note_listed(&uid, true);
    }
    members
}

fn plan(ones: &[(&str, Duration)], target: usize, members: &[SandboxInfo]) -> Plan {
    let now = Instant::now() + 10 * HOUR;
    let known = Knowledge {
        key: &key(1),
        attached: &attached(ones, now),
        creating: &HashSet::from([instance("new").id]),
        busy: &HashSet::from([instance("busy").uid]),
        adopting: 0,
        target,
        max_age: HOUR,
        adopts_unoffered: true,
        now,
        clock: SystemTime::now(),
    };
    Plan::new(&known, members)
}

#[test]
fn what_is_as_it_should_be_is_left_alone() {
    use PoolMemberState::{Filling, Taken, Waiting};
    let members = [
        listed("one", 1, Waiting),
        listed("two", 1, Waiting),
        // Claimed, just being created or removed, and of no pool.
        listed("taken", 1, Taken),
        listed("new", 1, Filling),
        listed("busy", 2, Waiting),
        SandboxInfo {
            pool: None,
            ..listed("other", 1, Waiting)
        },
    ];
    let ones = [("one", Duration::ZERO), ("two", Duration::ZERO)];
    let expected = Plan {
        stock: 2,
        ..Plan::default()
    };
    assert_eq!(plan(&ones, 2, &members), expected);
    assert_eq!(
        plan(&ones, 5, &members),
        expected,
        "the filler creates the rest"
    );
}

#[test]
fn the_oldest_surplus_and_what_waited_too_long_are_withdrawn() {
    use PoolMemberState::Waiting;
    let names = ["a", "b", "c", "old"];
    let members = names.map(|id| listed(id, 1, Waiting));
    let age = Duration::from_secs;
    let ones = [
        ("a", age(10)),
        ("b", age(30)),
        ("c", age(20)),
        ("old", 2 * HOUR),
    ];
    let plan = plan(&ones, 2, &members);
    assert_eq!(plan.withdraw, [instance("old"), instance("b")]);
    assert_eq!(plan.stock, 2);
}

#[test]
fn another_key_and_what_has_ended_make_room() {
    use PoolMemberState::{Draining, Filling, Waiting};
    let ended = SandboxInfo {
        state: SandboxState::Ended,
        ..listed("ended", 1, Waiting)
    };
    let members = [
        listed("former", 2, Waiting),
        listed("formerly-new", 2, Filling),
        listed("drained", 1, Draining),
        ended,
    ];
    let plan = plan(&[("ended", Duration::ZERO)], 3, &members);
    assert_eq!(plan.withdraw, [instance("former"), instance("ended")]);
    assert_eq!(plan.delete, [instance("formerly-new"), instance("drained")]);
    assert_eq!(plan.stock, 0);
}

#[test]
fn orphans_are_adopted_up_to_the_target() {
    use PoolMemberState::{Filling, Waiting};
    let old = SandboxInfo {
        created_at: SystemTime::now() - 2 * HOUR,
        ..listed("old", 1, Waiting)
    };
    let members = [
        old,
        listed("one", 1, Waiting),
        listed("two", 1, Filling),
        listed("mine", 1, Waiting),
    ];
    let mine = [("mine", Duration::ZERO)];
    let names = |plan: &Plan| -> Vec<String> {
        let orphan = |orphan: &Orphan| orphan.instance.id.to_string();
        plan.adopt.iter().map(orphan).collect()
    };
    let all = plan(&mine, 9, &members);
    assert_eq!(names(&all), ["two", "one"]);
    assert_eq!((all.stock, all.withdraw), (3, vec![instance("old")]));
    let one = plan(&mine, 2, &members);
    assert_eq!(names(&one), ["two"]);
    assert_eq!(one.withdraw, [instance("one"), instance("old")]);
}

#[test]
fn what_is_not_listed_any_more_is_forgotten() {
    let gone = plan(&[("gone", Duration::ZERO)], 1, &[]);
    assert_eq!(gone.forget, [instance("gone").uid]);
    assert_eq!(gone.stock, 0);
}
