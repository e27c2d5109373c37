//! Reads secrets of the operator, and certificates, where the file says that they are.

use super::reader::Fields;
use crate::bounded_file::read_text;

/// The largest file with a secret or with certificates.
const MAX_FILE: u64 = 1024 * 1024;

pub(super) const SECRET_FORM: &str =
    "write env:VARIABLE, file:PATH or none; this file is no place for the secret itself";

/// What the field `secret` says.
pub(super) enum Secret {
    Unset,
    /// There is none.
    Nowhere,
    Found(String),
    /// It was reported that it cannot be read.
    Mistaken,
}

/// Reads the secret where `secret` says it is, without a line break at its end.
pub(super) fn read_secret(fields: &mut Fields<'_>) -> Secret {
    let Some(source) = fields.take("secret") else {
        return Secret::Unset;
    };
    let read = match source.as_str().and_then(|source| source.split_once(':')) {
        Some(("env", variable)) if !variable.is_empty() => match std::env::var(variable) {
            Ok(secret) => Some(secret),
            Err(_) => fields.refuse(
                "secret",
                &format!("the variable {variable} is not set, or is not text; set it"),
            ),
        },
        Some(("file", path)) if !path.is_empty() => {
            fields.keep("secret", read_text(path.as_ref(), MAX_FILE))
        }
        None if source == "none" => return Secret::Nowhere,
        // The text is not repeated: people write the secret itself there.
        Some(_) | None => fields.refuse("secret", SECRET_FORM),
    };
    let Some(mut secret) = read else {
        return Secret::Mistaken;
    };
    secret.truncate(secret.trim_end_matches(['\r', '\n']).len());
    Secret::Found(secret)
}

/// Reads the certificates in the file that `ca` names.
pub(super) fn read_certificates(fields: &mut Fields<'_>) -> Option<String> {
    let path = fields.text("ca")?;
    fields.keep("ca", read_text(path.as_ref(), MAX_FILE))
}
