//! Background jobs.

use pyo3::prelude::*;
use sandbox::Job;

use crate::calls::{Shared, nothing, object, operation, share};
use crate::core::arguments::{returncode, signal};
use crate::errors::checked;
use crate::operation::Operation;
use crate::process::RawProcess;
use crate::value::Value;

/// A background job.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawJob {
    job: Shared<Job>,
}

impl RawJob {
    pub(crate) fn new(job: Job) -> Self {
        Self { job: share(job) }
    }
}

#[pymethods]
impl RawJob {
    #[getter]
    fn id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(checked(py, self.job.get())?.id().to_string())
    }

    fn wait(&self) -> Operation {
        operation(&self.job, |job| async move {
            Ok(Value::Signed(returncode(&job.wait().await?)))
        })
    }

    /// The log, how many bytes are left out, and where.
    fn logs(&self) -> Operation {
        operation(&self.job, |job| async move {
            let log = job.logs().await?;
            let (omitted, gap) = (log.omitted(), log.gap());
            Ok(Value::Tuple(vec![
                Value::Bytes(log.into_bytes()),
                Value::Int(omitted),
                Value::optional(gap, |gap| Value::Int(gap as u64)),
            ]))
        })
    }

    fn follow(&self, offset: u64) -> Operation {
        operation(&self.job, move |job| async move {
            object(RawProcess::new(job.follow_from(offset).await?))
        })
    }

    fn send_signal(&self, number: i64) -> Operation {
        operation(&self.job, move |job| async move {
            nothing(job.signal(signal(number)?).await)
        })
    }

    fn send_named_signal(&self, name: String) -> Operation {
        operation(&self.job, |job| async move {
            nothing(job.signal(name.parse()?).await)
        })
    }
}
