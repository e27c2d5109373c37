//! Calls that an event loop of asyncio awaits.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use pyo3::PyClass;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;
use sandbox::{TrackedWork, WorkWaiter};
use tokio::task::AbortHandle;

use crate::delivery::deliver;
use crate::errors::raise;
use crate::runtime::Guarded;
use crate::value::{Outcome, Value, unexpected};

/// A future of an event loop that waits for a call. A task of the runtime owns it, and never enters the interpreter.
#[derive(Clone)]
pub(crate) struct Waiter(Arc<Parts>);

struct Parts {
    event_loop: Py<PyAny>,
    future: Py<PyAny>,
    callback: Option<Py<PyAny>>,
    call: OnceLock<AbortHandle>,
}

impl Waiter {
    pub(crate) fn new(
        event_loop: Py<PyAny>,
        future: Py<PyAny>,
        callback: Option<Py<PyAny>>,
    ) -> Self {
        Self(Arc::new(Parts {
            event_loop,
            future,
            callback,
            call: OnceLock::new(),
        }))
    }

    /// Returns a callback for the future that drops the call.
    pub(crate) fn cancel_with(&self, call: AbortHandle, waiter: WorkWaiter) -> Canceller {
        Canceller {
            call: self.0.call.get_or_init(|| call).clone(),
            waiter: Mutex::new(Some(Guarded::new(waiter))),
        }
    }

    /// Drops the call if the event loop was closed, after which it cannot be cancelled.
    pub(crate) fn look_after_loop(&self) {
        let waiter = self.clone();
        deliver(Box::new(move |py| {
            let is_closed = waiter.0.event_loop.call_method0(py, "is_closed");
            if let (Ok(true), Some(call)) = (
                is_closed.and_then(|closed| closed.extract::<bool>(py)),
                waiter.0.call.get(),
            ) {
                call.abort();
            }
        }));
    }

    /// Has the event loop set the result of the future. Until then the call can still be interrupted.
    pub(crate) fn settle(self, outcome: Outcome, tracked: TrackedWork) {
        deliver(Box::new(move |py| {
            let settlement = Settlement {
                waiter: self.clone(),
                outcome: Mutex::new(Some((outcome, tracked))),
            };
            self.call_soon(py, settlement);
        }));
    }

    /// Has the event loop call the callback. If the callback raises, the future fails with that, and so the call is
    /// dropped.
    pub(crate) fn report(&self, report: Value) {
        let waiter = self.clone();
        deliver(Box::new(move |py| {
            let report = Report {
                waiter: waiter.clone(),
                report: Mutex::new(Some(report)),
            };
            waiter.call_soon(py, report);
        }));
    }

    fn call_soon<T>(&self, py: Python<'_>, function: T)
    where
        T: PyClass + Into<PyClassInitializer<T>>,
    {
        let scheduled = Py::new(py, function).and_then(|function| {
            self.0
                .event_loop
                .call_method1(py, "call_soon_threadsafe", (function,))
        });
        if let Err(error) = scheduled {
            // The event loop was closed, and its callers with it.
            tracing::debug!(%error, "a result was not delivered");
        }
    }

    fn is_done(&self, py: Python<'_>) -> PyResult<bool> {
        self.0.future.call_method0(py, "done")?.extract(py)
    }

    fn fail(&self, py: Python<'_>, error: &PyErr) -> PyResult<()> {
        self.0
            .future
            .call_method1(py, "set_exception", (error.value(py),))?;
        Ok(())
    }
}

/// Called by the event loop: sets the result. A result without a caller is dropped, as is that of a dropped call.
#[pyclass(frozen)]
struct Settlement {
    waiter: Waiter,
    outcome: Mutex<Option<(Outcome, TrackedWork)>>,
}

#[pymethods]
impl Settlement {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let (outcome, _tracked) = take(&self.outcome)?;
        if self.waiter.is_done(py)? {
            py.detach(|| drop(outcome));
            return Ok(());
        }
        let result = match outcome {
            Ok(value) => value.into_python(py),
            Err(fault) => Err(raise(py, fault)),
        };
        match result {
            Ok(value) => {
                let future = &self.waiter.0.future;
                future.call_method1(py, "set_result", (value,))?;
                Ok(())
            }
            Err(error) => self.waiter.fail(py, &error),
        }
    }
}

/// Called by the event loop: calls the callback.
#[pyclass(frozen)]
struct Report {
    waiter: Waiter,
    report: Mutex<Option<Value>>,
}

#[pymethods]
impl Report {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let report = take(&self.report)?;
        let Some(callback) = &self.waiter.0.callback else {
            return Ok(());
        };
        if self.waiter.is_done(py)? {
            return Ok(());
        }
        let called = report
            .into_python(py)
            .and_then(|report| callback.call1(py, (report,)));
        match called {
            Ok(_) => Ok(()),
            Err(error) => self.waiter.fail(py, &error),
        }
    }
}

/// Called by a future when it is done: drops the call, which matters only if the future was cancelled.
#[pyclass(frozen)]
pub(crate) struct Canceller {
    call: AbortHandle,
    /// Until the future is done: from then on, what is still there of the call is left over.
    waiter: Mutex<Option<Guarded<WorkWaiter>>>,
}

#[pymethods]
impl Canceller {
    fn __call__(&self, _future: &Bound<'_, PyAny>) -> PyResult<()> {
        drop(take(&self.waiter)?);
        self.call.abort();
        Ok(())
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> PyResult<T> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    slot.take().ok_or_else(|| unexpected("it was called twice"))
}
