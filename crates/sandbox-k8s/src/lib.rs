//! Sandboxes as Kubernetes Pods.
