//! Sandboxes as Kubernetes Pods: the place of that backend, which is not built yet.
//!
//! It will implement [`SandboxBackend`](sandbox_core::SandboxBackend) and
//! [`Connector`](sandbox_core::Connector) on `kube`, and hand byte streams to `sandbox-ssh`
//! without knowing it. Until then the facade answers `SANDBOX_BACKEND=k8s` with
//! [`Unsupported`](sandbox_core::Error::Unsupported).
