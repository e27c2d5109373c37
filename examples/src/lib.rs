//! Runnable examples, one per task.
