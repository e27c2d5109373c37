//! Raises faults as exceptions of `sandbox_sdk.exceptions`.

use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule};

use crate::core::fault::{Fault, Field};
use crate::value::decode_path;

static EXCEPTIONS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// Creates the exception.
pub(crate) fn raise(py: Python<'_>, fault: Fault) -> PyErr {
    match instance(py, fault) {
        Ok(exception) => PyErr::from_value(exception.into_any()),
        Err(error) => error,
    }
}

/// Turns a result of the SDK into one of Python.
pub(crate) fn checked<T>(py: Python<'_>, result: Result<T, impl Into<Fault>>) -> PyResult<T> {
    result.map_err(|fault| raise(py, fault.into()))
}

fn instance<'py>(py: Python<'py>, fault: Fault) -> PyResult<Bound<'py, PyBaseException>> {
    let module = EXCEPTIONS.get_or_try_init(py, || {
        Ok::<_, PyErr>(py.import("sandbox_sdk.exceptions")?.unbind())
    })?;
    let fields = PyDict::new(py);
    for (name, field) in fault.fields {
        match field {
            Field::Bool(value) => fields.set_item(name, value),
            Field::Int(value) => fields.set_item(name, value),
            Field::Seconds(value) => fields.set_item(name, value),
            Field::Text(text) => fields.set_item(name, text),
            Field::Path(path) => fields.set_item(name, decode_path(py, &path)?),
            Field::Texts(texts) => fields.set_item(name, pyo3::types::PyTuple::new(py, texts)?),
        }?;
    }
    let class = module.bind(py).getattr(fault.class)?;
    Ok(class.call((fault.message,), Some(&fields))?.cast_into()?)
}
