//! The keys that callers show.
