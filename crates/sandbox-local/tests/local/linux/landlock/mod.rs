//! Sandboxes with Landlock, without namespaces. Attempts to get out must fail here, too.

mod end;
mod files;
mod processes;
mod usage;

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    usage::trials()
        .into_iter()
        .chain(files::trials())
        .chain(processes::trials())
        .chain(end::trials())
        .collect()
}
