//! Byte streams that fail on purpose, and always in the same way.
//!
//! [`FaultyConnector`] opens the streams of another connector and gives each a [`Plan`]: after so
//! many bytes one direction is cut, ends, stalls or loses what is sent. A [`Switch`] does the same
//! to a stream that is in use. Nothing is ever reordered, for no stream does that.

mod connector;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

pub use connector::FaultyConnector;
pub use stream::FaultyStream;

/// A direction, seen from the side that holds the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the peer: what is read.
    In,
    /// To the peer: what is written.
    Out,
}

/// What becomes of a direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The whole stream is reset, and the peer finds it closed.
    Cut,
    /// Reading: the end of the file, while writing goes on. Writing: as [`Cut`](Self::Cut).
    End,
    /// Nothing passes any more, and whoever wants it waits.
    Stall,
    /// What is written is taken and goes nowhere, as when a machine vanishes. Reading: as
    /// [`Stall`](Self::Stall).
    Swallow,
}

/// What one stream will suffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    input: Option<(u64, Fault)>,
    output: Option<(u64, Fault)>,
    torn: Option<u64>,
}

impl Plan {
    /// None.
    pub fn good() -> Self {
        Self::default()
    }

    /// That fault once exactly so many bytes went that way.
    #[must_use]
    pub fn after(mut self, bytes: u64, way: Way, fault: Fault) -> Self {
        match way {
            Way::In => self.input = Some((bytes, fault)),
            Way::Out => self.output = Some((bytes, fault)),
        }
        self
    }

    /// Gives and takes only some bytes at a time: how many, the seed decides.
    #[must_use]
    pub fn torn(mut self, seed: u64) -> Self {
        self.torn = Some(seed | 1);
        self
    }
}

/// Brings faults to a stream that is in use, and says how much has passed.
#[derive(Debug, Clone)]
pub struct Switch(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    plan: Plan,
    read: u64,
    written: u64,
    /// Whoever waits at a stall.
    wakers: [Option<Waker>; 2],
}

impl Switch {
    fn new(plan: Plan) -> Self {
        Self(Arc::new(Mutex::new(State {
            plan,
            read: 0,
            written: 0,
            wakers: [None, None],
        })))
    }

    /// From now on, that way has that fault.
    pub fn fail(&self, way: Way, fault: Fault) {
        let mut state = self.state();
        state.plan = state.plan.after(0, way, fault);
        state.wake();
    }

    /// From now on, nothing fails; what was cut stays so.
    pub fn heal(&self) {
        let mut state = self.state();
        (state.plan.input, state.plan.output) = (None, None);
        state.wake();
    }

    /// Bytes that went that way.
    pub fn passed(&self, way: Way) -> u64 {
        let state = self.state();
        match way {
            Way::In => state.read,
            Way::Out => state.written,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a direction may do now.
enum Now {
    /// Pass at most so many bytes.
    Pass(usize),
    Suffer(Fault),
}

impl State {
    /// What may be done now. Whoever has to wait is woken when a switch is turned.
    fn now(&mut self, way: Way, wanted: usize, cx: &Context<'_>) -> Now {
        self.wakers[usize::from(way == Way::Out)] = Some(cx.waker().clone());
        let (planned, passed) = match way {
            Way::In => (self.plan.input, self.read),
            Way::Out => (self.plan.output, self.written),
        };
        let left = match planned {
            Some((after, fault)) if passed >= after => return Now::Suffer(fault),
            Some((after, _)) => usize::try_from(after - passed).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let piece = match &mut self.plan.torn {
            // Marsaglia's xorshift.
            Some(seed) => {
                *seed ^= *seed << 13;
                *seed ^= *seed >> 7;
                *seed ^= *seed << 17;
                1 + usize::try_from(*seed % 61).unwrap_or(0)
            }
            None => usize::MAX,
        };
        Now::Pass(wanted.min(left).min(piece))
    }

    fn wake(&mut self) {
        for waker in self.wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}
