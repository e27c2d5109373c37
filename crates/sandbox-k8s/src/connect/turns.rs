//! Turns of the Pods that start on one node at the same time.
//!
//! An attempt to reach a Pod that does not listen yet through the API server is work for its kubelet and container runtime,
//! which start the Pod and its neighbours meanwhile. A few Pods are attempted as if each were alone, which costs their node
//! little. With more, this client makes about one such attempt per [`SLOT`] and node, however many of the node's Pods it
//! waits for. A Pod that is reported to run is no longer among them.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::lock::lock;

/// The time from an attempt on a node to the next one, of whichever of its Pods. See `docs/BENCHMARKS.md` for shorter and
/// longer ones.
const SLOT: Duration = Duration::from_millis(100);

/// How many Pods of a node do not take turns.
const FEW: u32 = 4;

/// How many Pods are waited for on each node.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<String, u32>>);

/// The place of one Pod among those of its node, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    node: String,
    /// How many were there before.
    place: u32,
}

impl Turns {
    /// Adds a Pod that is waited for on this node.
    pub(super) fn join(&self, node: &str) -> Turn<'_> {
        let mut counts = lock(&self.0);
        let count = counts.entry(node.to_owned()).or_default();
        let place = *count;
        *count += 1;
        Turn {
            turns: self,
            node: node.to_owned(),
            place,
        }
    }
}

impl Turn<'_> {
    /// Returns how long after its scheduling the Pod's turn comes first.
    pub(super) fn first(&self) -> Duration {
        SLOT * self.place.saturating_sub(FEW)
    }

    /// Returns the time from one turn to the next, which is zero for a few Pods.
    pub(super) fn pause(&self) -> Duration {
        let count = lock(&self.turns.0).get(&self.node).copied();
        SLOT * count.unwrap_or(0).saturating_sub(FEW)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut counts = lock(&self.turns.0);
        if let Some(count) = counts.get_mut(&self.node) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_many_pods_of_one_node_take_turns() {
        let turns = Turns::default();
        let few: Vec<_> = (0..FEW).map(|_| turns.join("n1")).collect();
        for turn in &few {
            assert_eq!(
                (turn.first(), turn.pause()),
                (Duration::ZERO, Duration::ZERO)
            );
        }
        let many = [turns.join("n1"), turns.join("n1"), turns.join("n1")];
        assert_eq!(many[2].first(), 2 * SLOT);
        assert_eq!(few[0].pause(), 3 * SLOT);
        let elsewhere = turns.join("n2");
        assert_eq!(
            (elsewhere.first(), elsewhere.pause()),
            (Duration::ZERO, Duration::ZERO)
        );
        drop(few);
        assert_eq!(many[2].pause(), Duration::ZERO, "the others have started");
        drop((many, elsewhere));
        assert!(lock(&turns.0).is_empty());
    }
}
