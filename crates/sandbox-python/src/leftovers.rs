//! What interrupted calls have left: calls that are still to be dropped, and sandboxes that are still to be deleted.
//!
//! The client knows only what was left by calls that are dropped. An event loop cancels a call before that, and a sandbox
//! can be ready at the moment when its caller leaves.

use std::sync::LazyLock;

use sandbox::Leftovers;

/// What interrupted calls of this process have left.
pub(crate) static LEFTOVERS: LazyLock<Leftovers> = LazyLock::new(Leftovers::default);
