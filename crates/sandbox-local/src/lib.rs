//! Sandboxes on this machine: one confined process tree each, no cluster.
