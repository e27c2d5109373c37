//! What is looked at before sandboxes are made, for people who set things up.

use serde::{Deserialize, Serialize};

/// One thing that was looked at, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Check {
    /// What was looked at, in a few words: `create pods`.
    pub name: String,
    /// What came of it.
    pub verdict: Verdict,
    /// What was found.
    pub detail: String,
    /// What to do about it: a command, or a setting.
    pub remedy: Option<String>,
}

/// What came of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verdict {
    /// It is as it should be.
    Passed,
    /// Sandboxes can be made, but something does not work or is not as safe as it could be.
    Warning,
    /// No sandbox can be made, or used.
    Failed,
    /// It was not looked at; the detail says why.
    Skipped,
}

impl Check {
    /// It is as it should be.
    pub fn passed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Passed, detail: detail.into(), remedy: None }
    }

    /// It could be better.
    pub fn warning(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, ..Self::passed(name, detail) }
    }

    /// It stands in the way.
    pub fn failed(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failed, ..Self::passed(name, detail) }
    }

    /// It was not looked at.
    pub fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::Skipped, ..Self::passed(name, why) }
    }

    /// With what to do about it.
    #[must_use]
    pub fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
