//! Files inside a sandbox.

use std::sync::Arc;

use pyo3::prelude::*;
use sandbox::{FilePath, Sandbox};

use crate::calls::{Shared, nothing, operation};
use crate::operation::Operation;
use crate::records::file_record;
use crate::value::Value;

/// The files of a sandbox. A path is what `os.fsencode` returns.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawFiles {
    sandbox: Shared<Sandbox>,
}

impl RawFiles {
    pub(crate) fn new(sandbox: &Shared<Sandbox>) -> Self {
        Self {
            sandbox: Arc::clone(sandbox),
        }
    }
}

#[pymethods]
impl RawFiles {
    fn read(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(Value::Bytes(sandbox.files().read(path).await?))
        })
    }

    fn write(&self, path: Vec<u8>, content: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().write(path, content).await)
        })
    }

    fn append(&self, path: Vec<u8>, content: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().append(path, content).await)
        })
    }

    fn list(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            let entries = sandbox.files().list(path).await?.into_iter();
            Ok(Value::List(entries.map(file_record).collect()))
        })
    }

    fn stat(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(file_record(sandbox.files().stat(path).await?))
        })
    }

    fn exists(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(Value::Bool(sandbox.files().exists(path).await?))
        })
    }

    /// Creates a directory; with `parents`, also those above it, and an existing one is no error.
    fn mkdir(&self, path: Vec<u8>, parents: bool) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            let path = FilePath::from(path);
            nothing(sandbox.session().create_dir(&path, parents).await)
        })
    }

    fn rename(&self, path: Vec<u8>, target: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().rename(path, target).await)
        })
    }

    fn remove(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().remove_file(path).await)
        })
    }

    /// Removes an empty directory.
    fn rmdir(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.session().remove_dir(&FilePath::from(path)).await)
        })
    }

    /// Removes a directory with everything in it.
    fn rmtree(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().remove_dir_all(path).await)
        })
    }

    fn chmod(&self, path: Vec<u8>, mode: u32) -> Operation {
        operation(&self.sandbox, move |sandbox| async move {
            nothing(sandbox.files().set_mode(path, mode).await)
        })
    }

    fn symlink(&self, target: Vec<u8>, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            nothing(sandbox.files().symlink(target, path).await)
        })
    }

    fn readlink(&self, path: Vec<u8>) -> Operation {
        operation(&self.sandbox, |sandbox| async move {
            Ok(Value::Path(sandbox.files().read_link(path).await?))
        })
    }
}
