//! Results on their way to Python: made without the interpreter, and turned into its objects by the thread that waits.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pyo3::PyClass;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pyclass_init::PyClassInitializer;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};
use sandbox::FilePath;

use crate::core::fault::Fault;

/// How a call ended.
pub(crate) type Outcome = Result<Value, Fault>;

/// A result.
pub(crate) enum Value {
    None,
    Bool(bool),
    Int(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Bytes(Bytes),
    /// A name in the sandbox, which need not be UTF-8: decoded as `os.fsdecode` does.
    Path(FilePath),
    List(Vec<Self>),
    Tuple(Vec<Self>),
    /// Fields of a record.
    Record(Vec<(&'static str, Self)>),
    Texts(BTreeMap<String, String>),
    /// An object of this module.
    Object(Box<dyn NewObject>),
}

/// Something that becomes an object of Python. If it is dropped instead, no caller has it.
pub(crate) trait NewObject: Send {
    fn into_object(self: Box<Self>, py: Python<'_>) -> PyResult<Py<PyAny>>;
}

impl Value {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    pub(crate) fn optional<T>(value: Option<T>, convert: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::None, convert)
    }

    /// A time, in seconds since the Unix epoch.
    pub(crate) fn time(time: SystemTime) -> Self {
        Self::Float(match time.duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_secs_f64(),
            Err(error) => -error.duration().as_secs_f64(),
        })
    }

    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(match self {
            Self::None => py.None(),
            Self::Bool(value) => value.into_pyobject(py)?.to_owned().into_any().unbind(),
            Self::Int(value) => value.into_pyobject(py)?.into_any().unbind(),
            Self::Signed(value) => value.into_pyobject(py)?.into_any().unbind(),
            Self::Float(value) => value.into_pyobject(py)?.into_any().unbind(),
            Self::Text(text) => PyString::new(py, &text).into_any().unbind(),
            Self::Bytes(bytes) => PyBytes::new(py, &bytes).into_any().unbind(),
            Self::Path(path) => decode_path(py, path.as_bytes())?,
            Self::List(items) => PyList::new(py, into_objects(items, py)?)?
                .into_any()
                .unbind(),
            Self::Tuple(items) => PyTuple::new(py, into_objects(items, py)?)?
                .into_any()
                .unbind(),
            Self::Record(fields) => {
                let record = PyDict::new(py);
                for (name, value) in fields {
                    record.set_item(name, value.into_python(py)?)?;
                }
                record.into_any().unbind()
            }
            Self::Texts(texts) => texts.into_pyobject(py)?.into_any().unbind(),
            Self::Object(object) => object.into_object(py)?,
        })
    }
}

fn into_objects(items: Vec<Value>, py: Python<'_>) -> PyResult<Vec<Py<PyAny>>> {
    items.into_iter().map(|item| item.into_python(py)).collect()
}

/// Decodes a name as `os.fsdecode` does on Unix: bytes that are not UTF-8 become lone surrogates.
pub(crate) fn decode_path(py: Python<'_>, path: &[u8]) -> PyResult<Py<PyAny>> {
    match std::str::from_utf8(path) {
        Ok(text) => Ok(PyString::new(py, text).into_any().unbind()),
        Err(_) => Ok(PyBytes::new(py, path)
            .call_method1("decode", ("utf-8", "surrogateescape"))?
            .unbind()),
    }
}

/// An object of a class of this module.
pub(crate) struct Instance<T>(pub(crate) T);

impl<T> NewObject for Instance<T>
where
    T: Send + Into<PyClassInitializer<T>> + PyClass,
{
    fn into_object(self: Box<Self>, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, self.0)?.into_any())
    }
}

/// Reports a fault of this package, rather than of its caller.
pub(crate) fn unexpected(message: &'static str) -> PyErr {
    PyRuntimeError::new_err(message)
}
