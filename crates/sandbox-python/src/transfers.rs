//! Files and trees between a sandbox and this machine.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use sandbox::{Sandbox, Transfer};
use tokio::sync::mpsc::UnboundedSender;

use crate::calls::{Shared, reporting_operation};
use crate::operation::Operation;
use crate::records::{transfer_record, tree_record};
use crate::value::Value;

/// Transfers into a sandbox and out of it. A remote path is what `os.fsencode` returns.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawTransfers {
    sandbox: Shared<Sandbox>,
}

impl RawTransfers {
    pub(crate) fn new(sandbox: &Shared<Sandbox>) -> Self {
        Self {
            sandbox: Arc::clone(sandbox),
        }
    }
}

#[pymethods]
impl RawTransfers {
    fn upload(
        &self,
        local: PathBuf,
        remote: Vec<u8>,
        resume: bool,
        progress: Option<Py<PyAny>>,
    ) -> Operation {
        reporting_operation(
            &self.sandbox,
            progress,
            move |sandbox, reports| async move {
                let transfer = transfer(&sandbox, reports).resume(resume);
                Ok(transfer_record(transfer.upload(local, remote).await?))
            },
        )
    }

    fn download(
        &self,
        remote: Vec<u8>,
        local: PathBuf,
        resume: bool,
        progress: Option<Py<PyAny>>,
    ) -> Operation {
        reporting_operation(
            &self.sandbox,
            progress,
            move |sandbox, reports| async move {
                let transfer = transfer(&sandbox, reports).resume(resume);
                Ok(transfer_record(transfer.download(remote, local).await?))
            },
        )
    }

    fn upload_dir(
        &self,
        local: PathBuf,
        remote: Vec<u8>,
        progress: Option<Py<PyAny>>,
    ) -> Operation {
        reporting_operation(&self.sandbox, progress, |sandbox, reports| async move {
            let report = transfer(&sandbox, reports)
                .upload_dir(local, remote)
                .await?;
            Ok(tree_record(report))
        })
    }

    fn download_dir(
        &self,
        remote: Vec<u8>,
        local: PathBuf,
        progress: Option<Py<PyAny>>,
    ) -> Operation {
        reporting_operation(&self.sandbox, progress, |sandbox, reports| async move {
            let report = transfer(&sandbox, reports)
                .download_dir(remote, local)
                .await?;
            Ok(tree_record(report))
        })
    }
}

fn transfer(sandbox: &Sandbox, reports: Option<UnboundedSender<Value>>) -> Transfer {
    match reports {
        Some(reports) => sandbox.transfer().progress(move |progress| {
            let report = Value::Record(vec![
                ("bytes", Value::Int(progress.bytes)),
                ("total", Value::optional(progress.total, Value::Int)),
                ("files", Value::Int(progress.files)),
            ]);
            // The receiver is gone.
            drop(reports.send(report));
        }),
        None => sandbox.transfer(),
    }
}
