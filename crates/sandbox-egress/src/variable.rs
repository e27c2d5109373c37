//! Names of variables.

use sandbox_core::{Error, Result};

/// Checks the name of a variable. `of` is what sets it.
///
/// # Errors
///
/// [`Error::Invalid`] if it is none.
pub(crate) fn check_variable(of: &str, name: String) -> Result<String> {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.is_empty()
        || !name.bytes().all(is_usual)
        || name.starts_with(|first: char| first.is_ascii_digit())
    {
        return Err(Error::invalid(
            format!("variable of the {of}"),
            name,
            "its name has other characters than letters, digits and _, or starts with a digit",
        ));
    }
    Ok(name)
}
