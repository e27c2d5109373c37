//! A model of many claimers, a filler and an API server, run through random orders of events. No order may lead to
//! two owners of a sandbox, or to a sandbox that stays without anybody who would end it.
//!
//! The claimers run [`Claiming`]. The rest is modelled as the cluster behaves: a patch is applied or not, its response
//! arrives or not, it may be applied after its sender has given up, and everybody may look at an old state. The server
//! in a sandbox ends by itself once nobody is connected to it.

use super::{Claiming, End, PatchResult, ReadResult, Step};

const SCHEDULES: u64 = 100_000;

/// xorshift64*, <https://doi.org/10.1145/2845077>: fast, and the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap() % below
    }

    fn one_in(&mut self, chance: usize) -> bool {
        self.next(chance) == 0
    }
}

type Claimer = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Filling,
    Waiting,
    Taken(Claimer),
    Draining,
    Deleted,
}

/// A sandbox, as the API server and its own server have it.
#[derive(Debug)]
struct Pod {
    state: State,
    has_filler: bool,
    /// Who has replaced the key of its server, which the server accepts once.
    key: Option<Claimer>,
    is_owner_connected: bool,
}

/// A claimer, between two of its requests.
#[derive(Debug)]
enum Actor {
    Claims(Claiming<usize>, Step<usize>),
    /// It has won, and connects.
    Connects(usize),
    Owns(usize),
    /// It does not know whether it has won, and finds out.
    CleansUp(usize),
    Gone,
}

struct World {
    random: Random,
    has_faults: bool,
    pods: Vec<Pod>,
    actors: Vec<Actor>,
    /// Patches that are applied after their senders have given up.
    late: Vec<(Claimer, usize)>,
    winners: Vec<Vec<Claimer>>,
}

impl World {
    fn new(seed: u64, has_faults: bool) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let pods: Vec<_> = (0..1 + random.next(4))
            .map(|_| Pod {
                state: if random.one_in(4) {
                    State::Filling
                } else {
                    State::Waiting
                },
                has_filler: true,
                key: None,
                is_owner_connected: false,
            })
            .collect();
        let mut world = Self {
            winners: vec![Vec::new(); pods.len()],
            late: Vec::new(),
            actors: Vec::new(),
            pods,
            has_faults,
            random,
        };
        for _ in 0..1 + world.random.next(4) {
            let actor = world.start_claim();
            world.actors.push(actor);
        }
        world
    }

    /// A claimer sees the Pods as they are, or as they were at any earlier time: all may seem to wait.
    fn start_claim(&mut self) -> Actor {
        let sees_the_past = self.has_faults && self.random.one_in(3);
        let mut seen: Vec<_> = (0..self.pods.len())
            .filter(|pod| sees_the_past || self.pods[*pod].state == State::Waiting)
            .collect();
        for index in (1..seen.len()).rev() {
            seen.swap(index, self.random.next(index + 1));
        }
        let mut claim = Claiming::new(seen);
        let step = claim.first_step();
        Actor::Claims(claim, step)
    }

    /// Applies the patch of a claim as the API server does.
    fn apply(&mut self, claimer: Claimer, pod: usize) -> PatchResult {
        match self.pods[pod].state {
            State::Deleted => PatchResult::Missing,
            State::Waiting => {
                self.pods[pod].state = State::Taken(claimer);
                PatchResult::Applied
            }
            State::Filling | State::Taken(_) | State::Draining => PatchResult::NotApplied,
        }
    }

    /// Sends the patch of a claim, and repeats it as the client does while there is no response.
    fn send_patch(&mut self, claimer: Claimer, pod: usize) -> PatchResult {
        for _ in 0..3 {
            if !self.has_faults {
                return self.apply(claimer, pod);
            }
            match self.random.next(8) {
                // Lost before it arrived.
                0 => {}
                // Applied, and the response is lost.
                1 => _ = self.apply(claimer, pod),
                // Applied much later.
                2 => self.late.push((claimer, pod)),
                // A conflict with a write of the kubelet.
                3 => return PatchResult::NotApplied,
                _ => return self.apply(claimer, pod),
            }
        }
        PatchResult::Unknown
    }

    fn read(&mut self, claimer: Claimer, pod: usize) -> ReadResult {
        if self.has_faults && self.random.one_in(8) {
            return ReadResult::Unknown;
        }
        match self.pods[pod].state {
            State::Taken(by) if by == claimer => ReadResult::Mine,
            State::Waiting => ReadResult::Waits,
            State::Filling | State::Taken(_) | State::Draining | State::Deleted => ReadResult::Gone,
        }
    }

    /// Lets a claimer do one thing.
    fn act(&mut self, claimer: Claimer) {
        let actor = std::mem::replace(&mut self.actors[claimer], Actor::Gone);
        let is_killed = self.has_faults && self.random.one_in(16);
        if is_killed {
            // Its connection ends with it.
            if let Actor::Owns(pod) = actor {
                self.pods[pod].is_owner_connected = false;
            }
            return;
        }
        self.actors[claimer] = match actor {
            Actor::Claims(mut claim, Step::Patch(pod)) => {
                let result = self.send_patch(claimer, pod);
                let step = claim.step_after_patch(pod, result);
                Actor::Claims(claim, step)
            }
            Actor::Claims(mut claim, Step::Read(pod)) => {
                let result = self.read(claimer, pod);
                let step = claim.step_after_read(pod, result);
                Actor::Claims(claim, step)
            }
            Actor::Claims(_, Step::Finish(end)) => match end {
                End::Won(pod) => {
                    self.winners[pod].push(claimer);
                    Actor::Connects(pod)
                }
                End::Unknown(pod) => Actor::CleansUp(pod),
                End::NoneLeft | End::Refused => Actor::Gone,
            },
            Actor::Connects(pod) => self.connect(claimer, pod),
            Actor::CleansUp(pod) => self.clean_up(claimer, pod),
            Actor::Owns(pod) => Actor::Owns(pod),
            Actor::Gone => Actor::Gone,
        };
    }

    fn connect(&mut self, claimer: Claimer, pod: usize) -> Actor {
        let sandbox = &mut self.pods[pod];
        if self.has_faults && self.random.one_in(8) {
            // It cannot connect, and deletes what it has claimed.
            sandbox.state = State::Deleted;
            return Actor::Gone;
        }
        if sandbox.state == State::Deleted || sandbox.key.is_some() {
            return Actor::Gone;
        }
        // The server closes every other connection.
        sandbox.key = Some(claimer);
        sandbox.has_filler = false;
        sandbox.is_owner_connected = true;
        Actor::Owns(pod)
    }

    fn clean_up(&mut self, claimer: Claimer, pod: usize) -> Actor {
        match self.read(claimer, pod) {
            ReadResult::Unknown => Actor::CleansUp(pod),
            ReadResult::Mine => {
                self.pods[pod].state = State::Deleted;
                Actor::Gone
            }
            // It looks again once no request can be under way any more.
            ReadResult::Waits if self.late.contains(&(claimer, pod)) => Actor::CleansUp(pod),
            ReadResult::Waits | ReadResult::Gone => Actor::Gone,
        }
    }

    /// Lets the filler do one thing with one sandbox.
    fn fill(&mut self) {
        let pod = self.random.next(self.pods.len());
        let withdraws = self.random.one_in(3);
        let pod = &mut self.pods[pod];
        match pod.state {
            State::Filling => pod.state = State::Waiting,
            State::Waiting if withdraws => pod.state = State::Draining,
            State::Draining => pod.state = State::Deleted,
            State::Taken(_) => pod.has_filler = false,
            State::Waiting | State::Deleted => {}
        }
    }

    fn apply_late(&mut self) {
        if !self.late.is_empty() {
            let index = self.random.next(self.late.len());
            let (claimer, pod) = self.late.swap_remove(index);
            self.apply(claimer, pod);
        }
    }

    fn step(&mut self) {
        match self.random.next(8) {
            0 => self.fill(),
            1 => self.apply_late(),
            _ => {
                let claimer = self.random.next(self.actors.len());
                self.act(claimer);
            }
        }
    }

    /// Lets everything that is under way come to its end.
    fn settle(&mut self) {
        while !self.late.is_empty() {
            self.apply_late();
        }
        self.has_faults = false;
        for claimer in 0..self.actors.len() {
            while !matches!(self.actors[claimer], Actor::Owns(_) | Actor::Gone) {
                self.act(claimer);
            }
        }
        // The watch shows the filler what was taken.
        for pod in &mut self.pods {
            if matches!(pod.state, State::Taken(_)) {
                pod.has_filler = false;
            }
        }
    }

    fn check_owners(&self) {
        for (index, (pod, winners)) in self.pods.iter().zip(&self.winners).enumerate() {
            assert!(
                winners.len() <= 1,
                "pod {index} has two owners: {winners:?}"
            );
            if let (Some(winner), State::Taken(by)) = (winners.first(), pod.state) {
                assert_eq!(*winner, by, "pod {index}");
            }
            if let Some(winner) = winners.first() {
                // Neither the pool nor another claimer takes away what has an owner. Only the owner deletes it.
                assert!(
                    matches!(pod.state, State::Taken(_) | State::Deleted),
                    "pod {index}"
                );
                if matches!(self.actors[*winner], Actor::Owns(_)) {
                    assert_ne!(
                        pod.state,
                        State::Deleted,
                        "pod {index} was deleted by another"
                    );
                }
            }
        }
    }

    /// A sandbox is in the pool, has a living owner, is deleted, or ends because nobody is connected.
    fn check_leaks(&self) {
        for (index, pod) in self.pods.iter().enumerate() {
            let owned = self
                .actors
                .iter()
                .any(|actor| matches!(actor, Actor::Owns(of) if *of == index));
            let is_connected = pod.has_filler || pod.is_owner_connected;
            match pod.state {
                State::Deleted => assert!(!owned, "pod {index}"),
                State::Taken(_) => assert_eq!(is_connected, owned, "pod {index} leaks"),
                State::Filling | State::Waiting | State::Draining => {
                    assert!(pod.has_filler && !owned, "pod {index}");
                }
            }
        }
    }

    fn count_owned(&self) -> usize {
        let owns = |actor: &&Actor| matches!(actor, Actor::Owns(_));
        self.actors.iter().filter(owns).count()
    }
}

#[test]
fn no_order_of_events_leads_to_two_owners_or_to_a_leak() {
    let (mut owned, mut unknown) = (0, 0);
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed, true);
        for _ in 0..10 + world.random.next(40) {
            world.step();
            world.check_owners();
        }
        unknown += world
            .actors
            .iter()
            .filter(|actor| matches!(actor, Actor::CleansUp(_)))
            .count();
        world.settle();
        world.check_owners();
        world.check_leaks();
        owned += world.count_owned();
    }
    // The schedules reach what they are meant to test.
    assert!(
        owned > 50_000 && unknown > 1_000,
        "{owned} owned, {unknown} unknown"
    );
}

#[test]
fn without_faults_every_claim_succeeds_while_sandboxes_wait() {
    for seed in 0..10_000 {
        let mut world = World::new(seed, false);
        for pod in &mut world.pods {
            pod.state = State::Waiting;
        }
        world.actors.clear();
        for _ in 0..4 {
            let actor = world.start_claim();
            world.actors.push(actor);
        }
        for _ in 0..20 {
            let claimer = world.random.next(4);
            world.act(claimer);
        }
        world.settle();
        world.check_owners();
        assert_eq!(world.count_owned(), world.pods.len().min(4), "seed {seed}");
    }
}
