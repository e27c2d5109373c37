//! Counts log events.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the log events of this crate that have one message.
pub(crate) struct EventCounter {
    message: &'static str,
    count: Arc<AtomicUsize>,
}

impl EventCounter {
    /// Counts until the guard is dropped, in this thread.
    pub(crate) fn start(
        message: &'static str,
    ) -> (Arc<AtomicUsize>, tracing::subscriber::DefaultGuard) {
        let count = Arc::default();
        let counter = Self {
            message,
            count: Arc::clone(&count),
        };
        (count, tracing::subscriber::set_default(counter))
    }
}

impl tracing::Subscriber for EventCounter {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("sandbox_ssh")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Find<'a>(&'a str, bool);
        impl tracing::field::Visit for Find<'_> {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.1 |= field.name() == "message" && format!("{value:?}") == self.0;
            }
        }
        let mut find = Find(self.message, false);
        event.record(&mut find);
        self.count.fetch_add(usize::from(find.1), Ordering::Relaxed);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
