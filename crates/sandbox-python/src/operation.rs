//! One call of the SDK, which a thread can wait for or an event loop can await: the one core of both styles.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use sandbox::TrackedWork;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::core::fault::Fault;
use crate::errors::{checked, raise};
use crate::event_loop::Waiter;
use crate::leftovers::LEFTOVERS;
use crate::runtime::{self, Guarded};
use crate::value::{Outcome, Value};
use crate::{logging, value};

/// How often it is checked that the event loop that awaits a call was not closed.
const LOOP_INTERVAL: Duration = Duration::from_secs(1);
/// How often a waiting thread looks for signals such as that of Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A call that has not been made yet. It is made once: by `wait`, or by `start`.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct Operation {
    call: Mutex<Option<Guarded<Call>>>,
}

struct Call {
    work: Work,
    reports: Option<Reports>,
}

/// A call in the background. The call is dropped before what says that it is there, also by an aborted task.
struct Running {
    call: Guarded<Call>,
    tracked: TrackedWork,
}

/// What is reported to a callback of the caller while the work goes on.
pub(crate) struct Reports {
    pub(crate) received: UnboundedReceiver<Value>,
    pub(crate) callback: Py<PyAny>,
}

/// What a waiting thread wakes up for.
enum Step {
    Done(Outcome),
    Report(Value),
    Tick,
}

impl Call {
    /// Returns what was reported until the end of the work.
    fn last_report(&mut self) -> Option<Value> {
        self.reports.as_mut()?.received.try_recv().ok()
    }
}

impl Operation {
    pub(crate) fn new(
        work: impl Future<Output = Outcome> + Send + 'static,
        reports: Option<Reports>,
    ) -> Self {
        let call = Call {
            work: Box::pin(work),
            reports,
        };
        Self {
            call: Mutex::new(Some(Guarded::new(call))),
        }
    }

    fn take(&self) -> PyResult<Guarded<Call>> {
        let mut call = self.call.lock().unwrap_or_else(PoisonError::into_inner);
        call.take()
            .ok_or_else(|| PyRuntimeError::new_err("an operation can be waited for only once"))
    }
}

#[pymethods]
impl Operation {
    /// Makes the call and blocks until its end, without the interpreter's lock. A signal whose handler raises ends it.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let runtime = checked(py, runtime::handle())?;
        logging::update_level(py);
        let mut call = self.take()?;
        loop {
            let step = py.detach(|| {
                let step = next_step(runtime, &mut call);
                if runtime::must_stay_out() {
                    // The interpreter is being finalised, and would end this thread by force.
                    loop {
                        std::thread::park();
                    }
                }
                step
            });
            match step {
                Some(Step::Done(outcome)) => {
                    while let Some(report) = call.get_mut().and_then(Call::last_report) {
                        report_to(py, &mut call, report)?;
                    }
                    py.detach(|| drop(call));
                    return finish(py, outcome);
                }
                Some(Step::Report(report)) => {
                    let reported = report_to(py, &mut call, report);
                    abandon_on_error(py, reported, &mut call)?;
                }
                Some(Step::Tick) => abandon_on_error(py, py.check_signals(), &mut call)?,
                None => return Err(value::unexpected("the call is gone")),
            }
        }
    }

    /// Makes the call in the background; returns a future of the event loop. Cancelling that drops the call.
    fn start<'py>(
        &self,
        py: Python<'py>,
        event_loop: Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let runtime = checked(py, runtime::handle())?;
        if runtime::is_exiting() {
            // The result could not be delivered.
            let fault = Fault::closed("the interpreter exits, so that this package");
            return Err(raise(py, fault));
        }
        logging::update_level(py);
        let mut call = self.take()?;
        let future = event_loop.call_method0("create_future")?;
        let callback = call.get_mut().and_then(|call| call.reports.as_ref());
        let waiter = Waiter::new(
            event_loop.unbind(),
            future.clone().unbind(),
            callback.map(|reports| reports.callback.clone_ref(py)),
        );
        let kept = waiter.clone();
        let (work_waiter, tracked) = LEFTOVERS.track();
        let running = Running { call, tracked };
        let task = runtime.spawn(async move {
            // The block has to own it as a whole: its parts alone would be dropped in another order.
            let mut running = running;
            let outcome = drive(&mut running.call, &waiter).await;
            let Running { call, tracked } = running;
            // Dropped first: a caller that gets the result can rely on the end of the call.
            drop(call);
            waiter.settle(outcome, tracked);
        });
        let canceller = kept.cancel_with(task.abort_handle(), work_waiter);
        future.call_method1("add_done_callback", (canceller,))?;
        Ok(future)
    }
}

/// Waits for the next step of a call, without the interpreter's lock.
fn next_step(runtime: &tokio::runtime::Handle, call: &mut Guarded<Call>) -> Option<Step> {
    let call = call.get_mut()?;
    Some(runtime.block_on(async {
        tokio::select! {
            biased;
            Some(report) = next_report(&mut call.reports) => Step::Report(report),
            outcome = &mut call.work => Step::Done(outcome),
            () = tokio::time::sleep(SIGNAL_INTERVAL) => Step::Tick,
        }
    }))
}

async fn next_report(reports: &mut Option<Reports>) -> Option<Value> {
    match reports {
        Some(reports) => reports.received.recv().await,
        None => None,
    }
}

fn report_to(py: Python<'_>, call: &mut Guarded<Call>, report: Value) -> PyResult<()> {
    if let Some(Call {
        reports: Some(reports),
        ..
    }) = call.get_mut()
    {
        reports.callback.call1(py, (report.into_python(py)?,))?;
    }
    Ok(())
}

/// Drops the call after an error of the caller's own code, without the interpreter's lock.
fn abandon_on_error(
    py: Python<'_>,
    result: PyResult<()>,
    call: &mut Guarded<Call>,
) -> PyResult<()> {
    result.inspect_err(|_| {
        let abandoned = call.take().map(Guarded::new);
        py.detach(|| drop(abandoned));
    })
}

fn finish(py: Python<'_>, outcome: Outcome) -> PyResult<Py<PyAny>> {
    match outcome {
        Ok(value) => value.into_python(py),
        Err(fault) => Err(raise(py, fault)),
    }
}

/// Runs a call to its end in a task of the runtime.
async fn drive(call: &mut Guarded<Call>, waiter: &Waiter) -> Outcome {
    let Some(call) = call.get_mut() else {
        return Err(Fault::closed("the call"));
    };
    let outcome = loop {
        tokio::select! {
            biased;
            Some(report) = next_report(&mut call.reports) => waiter.report(report),
            outcome = &mut call.work => break outcome,
            () = tokio::time::sleep(LOOP_INTERVAL) => waiter.look_after_loop(),
        }
    };
    while let Some(report) = call.last_report() {
        waiter.report(report);
    }
    outcome
}
