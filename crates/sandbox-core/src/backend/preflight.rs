//! Checks of a backend's setup, before any sandbox is created.

use serde::{Deserialize, Serialize};

/// A check and its result.
///
/// ```
/// use sandbox_core::{Check, Verdict};
///
/// let check = Check::failed("create pods", "forbidden").with_remedy("kubectl apply -f deploy/rbac.yaml");
/// assert_eq!(check.verdict, Verdict::Failed);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// The name of the check, such as `create pods`.
    pub name: String,
    /// The result.
    pub verdict: Verdict,
    /// Details of the result.
    pub detail: String,
    /// The fix: a command, or a setting.
    pub remedy: Option<String>,
}

/// The result of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// There is no problem.
    Passed,
    /// Sandboxes can be created, but something does not work or is less safe than it could be.
    Warning,
    /// Sandboxes cannot be created or used.
    Failed,
    /// It was not checked, for the reason in the details.
    Skipped,
}

impl Check {
    /// Creates a check that passed.
    pub fn passed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            verdict: Verdict::Passed,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// Creates a check with a warning.
    pub fn warning(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            ..Self::passed(name, detail)
        }
    }

    /// Creates a check that failed.
    pub fn failed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            ..Self::passed(name, detail)
        }
    }

    /// Creates a check that was skipped.
    pub fn skipped(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Skipped,
            ..Self::passed(name, reason)
        }
    }

    /// Adds the fix.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
