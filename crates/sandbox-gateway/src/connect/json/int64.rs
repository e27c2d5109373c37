//! `int64`: a number as text, because JavaScript's numbers are too small.

use serde::Serializer;

/// Writes a number as text.
///
/// # Errors
///
/// Those of the serializer.
pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}
