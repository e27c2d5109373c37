//! What is asked of one backend alone.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// What only one kind of backend can do, by the name of that backend: node selectors and
/// tolerations for `k8s`. The core does not know what they mean. Each backend reads its own,
/// and refuses those of others and what it does not understand.
///
/// Nothing secret belongs here: it is printed, and may be stored where others read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendOptions(BTreeMap<String, Value>);

impl BackendOptions {
    /// Sets those for one backend, in place of what was there. `backend` is what its
    /// [`name`](crate::SandboxBackend::name) returns.
    pub fn set(&mut self, backend: impl Into<String>, options: impl Into<Value>) {
        self.0.insert(backend.into(), options.into());
    }

    /// Those for one backend.
    pub fn get(&self, backend: &str) -> Option<&Value> {
        self.0.get(backend)
    }

    /// Whether there are none for any backend.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What this backend is to read: its own, and nothing is for another.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming a backend that some of them are for, and that this is not.
    pub fn only_for(&self, backend: &str) -> Result<Option<&Value>> {
        match self.0.keys().find(|name| *name != backend) {
            Some(other) => Err(Error::unsupported(
                format!("what was asked for of the backend {other} alone"),
                format!("the backend {backend}"),
                format!("leave those options away, or use that backend (SANDBOX_BACKEND={other})"),
            )),
            None => Ok(self.get(backend)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_backend_reads_its_own_and_refuses_others() {
        let mut options = BackendOptions::default();
        assert_eq!(options.only_for("local").unwrap(), None);
        options.set("k8s", json!({"runtimeClassName": "gvisor"}));
        assert_eq!(options.only_for("k8s").unwrap(), Some(&json!({"runtimeClassName": "gvisor"})));
        let error = options.only_for("local").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        assert!(error.to_string().contains("SANDBOX_BACKEND=k8s"), "{error}");
        // One that reads its own still refuses the rest.
        options.set("other", json!(null));
        assert!(options.only_for("k8s").is_err());
    }
}
