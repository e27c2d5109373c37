//! Makes operations of calls of the facade.

use std::sync::Arc;

use crate::core::fault::Fault;
use crate::operation::{Operation, Reports};
use crate::runtime::Guarded;
use crate::value::{Instance, NewObject, Outcome, Value};
use pyo3::prelude::*;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// Something that several objects of Python share, and that is dropped within the runtime.
pub(crate) type Shared<T> = Arc<Guarded<T>>;

pub(crate) fn share<T>(value: T) -> Shared<T> {
    Arc::new(Guarded::new(value))
}

/// Returns an operation of a call on something shared. `call` gets a clone, which is cheap for all handles.
pub(crate) fn operation<T, F>(
    target: &Shared<T>,
    call: impl FnOnce(T) -> F + Send + 'static,
) -> Operation
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    Operation::new(begin(target, call), None)
}

/// Returns an operation whose call reports to `callback`, if there is one.
pub(crate) fn reporting_operation<T, F>(
    target: &Shared<T>,
    callback: Option<Py<PyAny>>,
    call: impl FnOnce(T, Option<UnboundedSender<Value>>) -> F + Send + 'static,
) -> Operation
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let (sender, reports) = callback
        .map(|callback| {
            let (sender, received) = unbounded_channel();
            (sender, Reports { received, callback })
        })
        .unzip();
    Operation::new(begin(target, |target| call(target, sender)), reports)
}

fn begin<T, F>(
    target: &Shared<T>,
    call: impl FnOnce(T) -> F + Send + 'static,
) -> impl Future<Output = Outcome> + Send + 'static
where
    T: Clone + Send + Sync + 'static,
    F: Future<Output = Outcome> + Send + 'static,
{
    let target = Arc::clone(target);
    async move {
        let handle = target.get()?.clone();
        call(handle).await
    }
}

/// Returns a new object as a result.
pub(crate) fn object<T>(instance: T) -> Outcome
where
    Instance<T>: NewObject + 'static,
{
    Ok(Value::Object(Box::new(Instance(instance))))
}

/// Returns nothing as a result.
pub(crate) fn nothing(result: sandbox::Result<()>) -> Outcome {
    result.map(|()| Value::None).map_err(Fault::from)
}
