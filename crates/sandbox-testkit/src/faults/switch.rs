//! Control of the faults of a stream in use.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::plan::{Direction, FaultPlan, StreamFault};

/// Changes the faults of a stream in use, and counts its bytes.
#[derive(Debug, Clone)]
pub struct FaultSwitch(Arc<Mutex<State>>);

#[derive(Debug)]
pub(super) struct State {
    plan: FaultPlan,
    read: u64,
    written: u64,
    /// The tasks that wait at a stall.
    wakers: [Option<Waker>; 2],
}

/// What a read or write may do.
pub(super) enum Decision {
    /// Transfer at most this many bytes.
    Pass(usize),
    Fail(StreamFault),
}

impl FaultSwitch {
    pub(super) fn new(plan: FaultPlan) -> Self {
        Self(Arc::new(Mutex::new(State {
            plan,
            read: 0,
            written: 0,
            wakers: [None, None],
        })))
    }

    /// Starts a fault at once.
    pub fn fail(&self, direction: Direction, fault: StreamFault) {
        let mut state = self.lock();
        state.plan = state.plan.fail_after(0, direction, fault);
        state.wake();
    }

    /// Ends all faults. A stream that was reset remains so.
    pub fn clear_faults(&self) {
        let mut state = self.lock();
        state.plan.read = None;
        state.plan.write = None;
        state.wake();
    }

    /// Returns the number of bytes that were transferred in this direction.
    pub fn byte_count(&self, direction: Direction) -> u64 {
        let state = self.lock();
        match direction {
            Direction::Read => state.read,
            Direction::Write => state.written,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Decides on a read or write of `wanted` bytes. A task that has to wait is woken when the faults
    /// change.
    pub(super) fn decide(
        &mut self,
        direction: Direction,
        wanted: usize,
        cx: &Context<'_>,
    ) -> Decision {
        self.wakers[usize::from(direction == Direction::Write)] = Some(cx.waker().clone());
        let (planned, transferred) = match direction {
            Direction::Read => (self.plan.read, self.read),
            Direction::Write => (self.plan.write, self.written),
        };
        let remaining = match planned {
            Some((after, fault)) if transferred >= after => return Decision::Fail(fault),
            Some((after, _)) => usize::try_from(after - transferred).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let chunk = match &mut self.plan.short_transfers {
            // Marsaglia's xorshift.
            Some(seed) => {
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                1 + usize::try_from(*seed % 61).unwrap_or(0)
            }
            None => usize::MAX,
        };
        Decision::Pass(wanted.min(remaining).min(chunk))
    }

    pub(super) fn add_read(&mut self, bytes: usize) {
        self.read += bytes as u64;
    }

    pub(super) fn add_written(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    fn wake(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}
