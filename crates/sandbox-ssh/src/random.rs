//! Names that nobody can guess.

use sandbox_core::{Error, Result};

/// Letters and digits that nobody can guess.
pub(crate) fn random_word() -> Result<String> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|source| Error::Backend {
        backend: "system",
        operation: "read random bytes",
        message: "the operating system gave no randomness".into(),
        transient: false,
        source: Some(Box::new(source)),
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
