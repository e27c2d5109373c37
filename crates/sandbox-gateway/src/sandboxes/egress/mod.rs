//! What sandboxes may reach.

mod limits;
mod narrowing;
mod serving;

pub(crate) use self::limits::{EgressLimits, Reach};
pub(super) use self::serving::{Servings, put_in_force};
