//! Attempts to get out of a sandbox with namespaces. Each of them must fail.

mod files;
mod processes;
mod surroundings;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    files::trials()
        .into_iter()
        .chain(processes::trials())
        .chain(surroundings::trials())
        .collect()
}
