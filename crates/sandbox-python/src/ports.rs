//! Forwarded ports.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use sandbox::Forward;

use crate::core::fault::Fault;
use crate::errors::raise;
use crate::runtime::Guarded;

/// A local port that leads into a sandbox.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawForward {
    forward: Mutex<Option<Guarded<Forward>>>,
}

impl RawForward {
    pub(crate) fn new(forward: Forward) -> Self {
        Self {
            forward: Mutex::new(Some(Guarded::new(forward))),
        }
    }
}

#[pymethods]
impl RawForward {
    /// The address and the port on which it listens.
    #[getter]
    fn address(&self, py: Python<'_>) -> PyResult<(String, u16)> {
        let forward = self.forward.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || raise(py, Fault::closed("the port"));
        let open = forward.as_ref().ok_or_else(closed)?;
        let local = open.get().map_err(|fault| raise(py, fault))?.local_addr();
        Ok((local.ip().to_string(), local.port()))
    }

    /// Closes the port and its connections.
    fn close(&self) {
        drop(
            self.forward
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}
