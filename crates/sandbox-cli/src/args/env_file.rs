//! What stands in a file of settings and is none: with docker, `--env-file` has a command's variables.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Names that are told.
const NAMED: usize = 3;

/// A sentence about names in this file that mean nothing to this program, if there are any. Never
/// their values.
pub(crate) fn remark(file: &Path) -> Option<String> {
    // A pipe has been read, and says nothing a second time.
    if !fs::metadata(file).is_ok_and(|there| there.is_file()) {
        return None;
    }
    // What cannot be read was an error before.
    let names = dotenvy::from_path_iter(file)
        .ok()?
        .filter_map(Result::ok)
        .map(|(name, _value)| name);
    let foreign: BTreeSet<String> = names.filter(|name| !name.starts_with("SANDBOX_")).collect();
    let (first, more) = (foreign.first()?, foreign.len() > NAMED);
    let named = foreign
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let what = match foreign.len() {
        1 => "1 variable that is not a setting and goes nowhere".to_owned(),
        several => format!("{several} variables that are not settings and go nowhere"),
    };
    Some(format!(
        "{} has {what}: {named}{}; --env-file is for settings of this program, and -e {first} passes a variable to a \
         command",
        file.display(),
        if more { ", …" } else { "" },
    ))
}
