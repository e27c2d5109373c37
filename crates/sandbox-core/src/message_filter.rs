//! Messages that are reported once.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Drops a message that repeats, until what it reports has passed.
///
/// ```
/// use sandbox_core::MessageFilter;
///
/// let filter = MessageFilter::default();
/// assert!(filter.admit("no file descriptors"));
/// assert!(!filter.admit("no file descriptors"));
/// filter.reset();
/// assert!(filter.admit("no file descriptors"));
/// ```
#[derive(Debug, Default)]
pub struct MessageFilter(Mutex<Option<String>>);

impl MessageFilter {
    /// Returns whether to report a message: not if it is the one that was reported last.
    pub fn admit(&self, message: &str) -> bool {
        let mut last = self.lock();
        let is_new = last.as_deref() != Some(message);
        if is_new {
            *last = Some(message.to_owned());
        }
        is_new
    }

    /// Forgets the last message, because what it reports has passed.
    pub fn reset(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_message_is_reported_at_once() {
        let filter = MessageFilter::default();
        let reported: Vec<_> = ["a", "a", "b", "b", "a"]
            .map(|message| filter.admit(message))
            .into();
        assert_eq!(reported, [true, false, true, false, true]);
    }
}
