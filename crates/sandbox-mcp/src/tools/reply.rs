//! What a call returns: data for programs, and the same as short text.

use serde::Serialize;
use serde_json::Value;

use crate::failure::Failure;

/// What a call returns.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) data: Value,
    pub(crate) text: String,
    /// The sandbox that was used, for the record.
    pub(crate) sandbox: Option<String>,
    /// A few words for the record.
    pub(crate) detail: Option<String>,
}

impl Reply {
    /// Creates a reply with this data and text.
    ///
    /// # Errors
    ///
    /// If the data cannot be written as JSON.
    pub(crate) fn new(data: &impl Serialize, text: impl Into<String>) -> Result<Self, Failure> {
        let data = serde_json::to_value(data)
            .map_err(|error| Failure::new(format!("the answer cannot be written: {error}")))?;
        Ok(Self {
            data,
            text: text.into(),
            sandbox: None,
            detail: None,
        })
    }

    pub(crate) fn with_sandbox(mut self, id: impl ToString) -> Self {
        self.sandbox = Some(id.to_string());
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}
