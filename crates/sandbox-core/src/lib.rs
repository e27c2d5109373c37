//! Traits, types and errors of the sandbox SDK: no Kubernetes, no SSH, no sockets.
