//! Whether a program that cargo has built is older than its sources.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The maximum size of a list of sources.
const MAX_SIZE: u64 = 1 << 20;

/// Returns a source that has changed since cargo built this program, if there is one. The sources are those that cargo
/// has listed beside it: <https://doc.rust-lang.org/cargo/reference/build-cache.html#dep-info-files>. Without that list,
/// as in a release, nothing is compared.
pub(super) fn changed_source(program: &Path) -> Option<PathBuf> {
    let built = modified(program)?;
    let sources = read_sources(&program.with_extension("d"))?;
    // Where no source exists, the program was built elsewhere.
    let is_here = sources.iter().any(|source| source.exists());
    let has_changed = |source: &PathBuf| modified(source).is_none_or(|at| at > built);
    sources.into_iter().filter(|_| is_here).find(has_changed)
}

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).ok()?.modified().ok()
}

/// Reads a rule of a Makefile: the target, a colon, and its sources, whose spaces are escaped.
fn read_sources(list: &Path) -> Option<Vec<PathBuf>> {
    let mut text = String::new();
    let file = File::open(list).ok()?;
    file.take(MAX_SIZE).read_to_string(&mut text).ok()?;
    let (_, sources) = text.lines().next()?.split_once(": ")?;
    let sources = sources.replace("\\ ", "\0");
    Some(
        sources
            .split_ascii_whitespace()
            .map(|source| PathBuf::from(source.replace('\0', " ")))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn set_modified(file: &Path, seconds: u64) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let file = File::options().write(true).open(file).unwrap();
        file.set_modified(at).unwrap();
    }

    #[test]
    fn a_program_older_than_a_source_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let (program, old, new) = (path("sandbox-sshd"), path("old.rs"), path("a new.rs"));
        for file in [&program, &old, &new] {
            std::fs::write(file, "").unwrap();
        }
        set_modified(&old, 1);
        set_modified(&program, 2);
        set_modified(&new, 3);
        assert_eq!(changed_source(&program), None, "no list");
        let list = |sources: &[&Path]| {
            let escape = |path: &Path| path.display().to_string().replace(' ', "\\ ");
            let sources: Vec<_> = sources.iter().map(|source| escape(source)).collect();
            let rule = format!("{}: {}\n", escape(&program), sources.join(" "));
            std::fs::write(path("sandbox-sshd.d"), rule).unwrap();
        };
        list(&[&old]);
        assert_eq!(changed_source(&program), None);
        list(&[&old, &new]);
        assert_eq!(changed_source(&program), Some(new.clone()));
        set_modified(&new, 2);
        assert_eq!(changed_source(&program), None);
        let (removed, other) = (path("removed.rs"), path("other.rs"));
        list(&[&old, &removed]);
        assert_eq!(changed_source(&program), Some(removed.clone()));
        list(&[&removed, &other]);
        assert_eq!(changed_source(&program), None, "built elsewhere");
        std::fs::write(path("sandbox-sshd.d"), b"\xff: \xff").unwrap();
        assert_eq!(changed_source(&program), None);
    }
}
