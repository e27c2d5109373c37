//! Warns about variables in an `--env-file` that are not settings. With docker, such a file has the
//! variables of a command.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// How many names the warning contains.
const MAX_NAMED: usize = 3;

/// Returns a warning about variables in this file that are not settings, if it has any. It contains
/// their names, never their values, which may be secrets.
pub(crate) fn find_warning(file: &Path) -> Option<String> {
    // A pipe was read for the settings already, and cannot be read twice.
    if !fs::metadata(file).is_ok_and(|metadata| metadata.is_file()) {
        return None;
    }
    // A file that cannot be read was reported as an error before.
    let names = dotenvy::from_path_iter(file)
        .ok()?
        .filter_map(Result::ok)
        .map(|(name, _value)| name);
    let foreign: BTreeSet<String> = names.filter(|name| !name.starts_with("SANDBOX_")).collect();
    let (first, more) = (foreign.first()?, foreign.len() > MAX_NAMED);
    let named = foreign
        .iter()
        .take(MAX_NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let count = match foreign.len() {
        1 => "1 variable that is not a setting (ignored)".to_owned(),
        several => format!("{several} variables that are not settings (ignored)"),
    };
    Some(format!(
        "{} has {count}: {named}{}; --env-file is for settings of this program; to pass a variable to a command, use \
         -e {first}",
        file.display(),
        if more { ", …" } else { "" },
    ))
}
