//! How much a server may list in one operation.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Direction, Error, FilePath, TransferReason};

/// How many directory entries an operation still accepts from a server, and how many bytes of their
/// names. All listings of the operation share it, also those that run at once, so that many large
/// directories need no more memory than one.
///
/// ```
/// use sandbox_core::ListBudget;
///
/// let budget = ListBudget::default();
/// assert!(budget.take(1000, 20_000));
/// assert!(!budget.take(ListBudget::DEFAULT_ENTRIES, 0), "only 999,000 are left");
/// ```
#[derive(Debug)]
pub struct ListBudget {
    entries: AtomicU64,
    name_bytes: AtomicU64,
}

impl ListBudget {
    /// The entries of the default budget.
    pub const DEFAULT_ENTRIES: u64 = 1_000_000;
    /// The bytes of names of the default budget: 256 MiB.
    pub const DEFAULT_NAME_BYTES: u64 = 256 << 20;

    /// Creates a budget of this many entries, whose names have at most this many bytes together.
    pub fn new(entries: u64, name_bytes: u64) -> Self {
        Self {
            entries: AtomicU64::new(entries),
            name_bytes: AtomicU64::new(name_bytes),
        }
    }

    /// Takes entries and bytes of names out of the budget. Returns whether they were in it; if not,
    /// the operation must end.
    #[must_use]
    pub fn take(&self, entries: u64, name_bytes: u64) -> bool {
        take_from(&self.entries, entries) && take_from(&self.name_bytes, name_bytes)
    }

    /// Puts back what is no longer in memory.
    pub fn give_back(&self, entries: u64, name_bytes: u64) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.name_bytes.fetch_add(name_bytes, Ordering::Relaxed);
    }

    /// Creates the error of a listing that did not fit into the budget.
    pub fn exceeded_error(path: impl Into<FilePath>) -> Error {
        Error::transfer(
            Direction::Inside,
            path,
            TransferReason::TooLarge,
            "there are more entries than the limit; list or pack them with a command instead",
            None,
        )
    }
}

impl Default for ListBudget {
    fn default() -> Self {
        Self::new(Self::DEFAULT_ENTRIES, Self::DEFAULT_NAME_BYTES)
    }
}

fn take_from(left: &AtomicU64, amount: u64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(amount)
    })
    .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_until_it_is_spent() {
        let budget = ListBudget::new(10, 100);
        assert!(budget.take(4, 40) && budget.take(6, 10));
        assert!(!budget.take(1, 1), "no entry is left");
        budget.give_back(4, 40);
        assert!(budget.take(1, 90));
        assert!(!budget.take(1, 1), "no byte is left");
    }
}
