//! Sandboxes: isolated places to run commands and keep files for a while.
