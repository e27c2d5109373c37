//! What becomes of sandboxes: found again, ended, deleted, and never left behind.

use libtest_mimic::Trial;

pub(crate) fn trials() -> Vec<Trial> {
    Vec::new()
}

pub(crate) fn client(_words: &[String]) -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
