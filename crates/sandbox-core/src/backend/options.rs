//! Options that only one backend has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// Options that only one kind of backend has, by the name of that backend: for example node
/// selectors and tolerations for `k8s`. The core does not interpret them. Each backend reads its
/// own options, and refuses those of others and options that it does not know.
///
/// Do not put secrets here: the options are printed, and may be stored where others can read them.
///
/// ```
/// use sandbox_core::BackendOptions;
///
/// let mut options = BackendOptions::default();
/// options.set("k8s", serde_json::json!({"runtimeClassName": "gvisor"}));
/// assert!(options.require_only("k8s").is_ok());
/// assert!(options.require_only("local").is_err());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackendOptions(BTreeMap<String, Value>);

impl BackendOptions {
    /// Sets the options for one backend, replacing earlier ones. `backend` is what its
    /// [`name`](crate::SandboxBackend::name) returns.
    pub fn set(&mut self, backend: impl Into<String>, options: impl Into<Value>) {
        self.0.insert(backend.into(), options.into());
    }

    /// Returns the options for one backend.
    pub fn get(&self, backend: &str) -> Option<&Value> {
        self.0.get(backend)
    }

    /// Returns whether there are no options for any backend.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the options for this backend, and requires that there are none for others.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] naming another backend that some options are for.
    pub fn require_only(&self, backend: &str) -> Result<Option<&Value>> {
        match self.0.keys().find(|name| *name != backend) {
            Some(other) => Err(Error::unsupported(
                format!("options that only the {other} backend has"),
                format!("the {backend} backend"),
                format!("remove those options, or select that backend (SANDBOX_BACKEND={other})"),
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
    fn each_backend_reads_its_options_and_refuses_others() {
        let mut options = BackendOptions::default();
        assert_eq!(options.require_only("local").unwrap(), None);
        options.set("k8s", json!({"runtimeClassName": "gvisor"}));
        assert_eq!(
            options.require_only("k8s").unwrap(),
            Some(&json!({"runtimeClassName": "gvisor"}))
        );
        let error = options.require_only("local").unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }));
        assert!(error.to_string().contains("SANDBOX_BACKEND=k8s"), "{error}");
        // Options of the backend itself do not make others acceptable.
        options.set("other", json!(null));
        assert!(options.require_only("k8s").is_err());
    }
}
