//! Hosts whose requests get secrets that stay in this process.

use std::path::PathBuf;

use pyo3::prelude::*;
use sandbox::{HostTransform, Result};

use crate::certificates::read_certificates;

/// A `HostTransform` of the package: an object with all of these attributes, which it has checked.
#[derive(FromPyObject, Clone)]
pub(crate) struct TransformOptions {
    host: String,
    secret: String,
    header: Option<String>,
    user: Option<String>,
    variable: Vec<String>,
    ca: Option<PathBuf>,
}

impl TransformOptions {
    /// # Errors
    ///
    /// [`Error::Invalid`](sandbox::Error::Invalid), without the secret.
    pub(crate) fn into_transform(self) -> Result<HostTransform> {
        let mut transform = HostTransform::new(&self.host)?;
        if let Some(path) = self.ca {
            transform = transform.authorities(&read_certificates(&path)?)?;
        }
        let has_placeholders = !self.variable.is_empty();
        for variable in self.variable {
            transform = transform.placeholder(variable, self.secret.as_str())?;
        }
        match (self.header, self.user) {
            (Some(header), _) => transform.header(&header, self.secret),
            (None, Some(user)) => transform.basic(user, self.secret),
            (None, None) if has_placeholders => Ok(transform),
            (None, None) => transform.bearer(self.secret),
        }
    }
}
