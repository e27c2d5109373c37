//! What a call has received of a stream, on its way to its caller. A call can be cancelled after it has received something,
//! and before its caller has that. Then the next call gets it: until it is known, that one waits for its turn.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::core::fault::Fault;
use crate::value::{Instance, Value, unexpected};

/// The items of a stream that were given back.
pub(crate) struct Untaken<T> {
    turns: Arc<Semaphore>,
    given_back: Mutex<VecDeque<T>>,
}

/// The right to receive from a stream. It is kept with what is received until the caller has that.
pub(crate) struct Turn {
    _permit: OwnedSemaphorePermit,
}

impl<T: Send + 'static> Untaken<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            turns: Arc::new(Semaphore::new(1)),
            given_back: Mutex::new(VecDeque::new()),
        })
    }

    /// Waits until no other call receives, or has received what its caller may not get.
    pub(crate) async fn turn(&self) -> Result<Turn, Fault> {
        // The semaphore is never closed.
        let permit = Arc::clone(&self.turns).acquire_owned().await;
        let _permit = permit.map_err(|_| Fault::closed("the stream"))?;
        Ok(Turn { _permit })
    }

    /// Returns a turn if that needs no waiting.
    pub(crate) fn try_turn(&self) -> Option<Turn> {
        let _permit = Arc::clone(&self.turns).try_acquire_owned().ok()?;
        Some(Turn { _permit })
    }

    /// Returns the oldest item that was given back.
    pub(crate) fn take(&self) -> Option<T> {
        self.given_back().pop_front()
    }

    /// Drops what was given back.
    pub(crate) fn clear(&self) {
        self.given_back().clear();
    }

    /// Returns an object from which the caller takes the item.
    pub(crate) fn hand_over(
        self: &Arc<Self>,
        turn: Turn,
        item: T,
        convert: impl FnOnce(T) -> Value + Send + 'static,
    ) -> Value {
        self.hand_over_all(turn, vec![item], |items| {
            Value::optional(items.into_iter().next(), convert)
        })
    }

    /// The same for several items, which the caller takes at once.
    pub(crate) fn hand_over_all(
        self: &Arc<Self>,
        turn: Turn,
        items: Vec<T>,
        convert: impl FnOnce(Vec<T>) -> Value + Send + 'static,
    ) -> Value {
        let transit = Transit {
            items,
            convert: Some(convert),
            untaken: Arc::clone(self),
            _turn: turn,
        };
        let item = RawItem(Mutex::new(Some(Box::new(transit))));
        Value::Object(Box::new(Instance(item)))
    }

    fn given_back(&self) -> MutexGuard<'_, VecDeque<T>> {
        self.given_back
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something of a stream. If it is forgotten, it is given back.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawItem(Mutex<Option<Box<dyn Taken>>>);

#[pymethods]
impl RawItem {
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let taken = self.slot().take();
        taken
            .and_then(Taken::into_value)
            .ok_or_else(|| unexpected("an item can be taken only once"))?
            .into_python(py)
    }

    fn give_back(&self) {
        drop(self.slot().take());
    }
}

impl RawItem {
    fn slot(&self) -> MutexGuard<'_, Option<Box<dyn Taken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

trait Taken: Send {
    fn into_value(self: Box<Self>) -> Option<Value>;
}

/// Gives the items back when it is dropped, and then the turn.
struct Transit<T: Send + 'static, F> {
    items: Vec<T>,
    convert: Option<F>,
    untaken: Arc<Untaken<T>>,
    _turn: Turn,
}

impl<T, F> Taken for Transit<T, F>
where
    T: Send + 'static,
    F: FnOnce(Vec<T>) -> Value + Send,
{
    fn into_value(mut self: Box<Self>) -> Option<Value> {
        let convert = self.convert.take()?;
        Some(convert(std::mem::take(&mut self.items)))
    }
}

impl<T: Send + 'static, F> Drop for Transit<T, F> {
    fn drop(&mut self) {
        let mut given_back = self.untaken.given_back();
        for item in self.items.drain(..).rev() {
            given_back.push_front(item);
        }
    }
}
