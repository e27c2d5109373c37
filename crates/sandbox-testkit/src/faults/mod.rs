//! Byte streams that fail at a chosen point, reproducibly.
//!
//! [`FaultyConnector`] opens the streams of another connector and gives each a [`FaultPlan`]: after a
//! number of bytes, one direction is reset, ends, stalls or discards data. A [`FaultSwitch`] does the
//! same to a stream in use. Bytes are never reordered, because no stream does that.

mod connector;
mod plan;
mod stream;
mod switch;

pub use connector::FaultyConnector;
pub use plan::{Direction, FaultPlan, StreamFault};
pub use stream::FaultyStream;
pub use switch::FaultSwitch;
