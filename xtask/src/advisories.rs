//! Compares the locked dependencies with a record of security advisories, offline.
//!
//! `just audit` asks the whole RustSec database, which it has to download. This record holds the advisories
//! of the crates that meet untrusted input or keep secrets. It was compared with RustSec's database of
//! 2026-09-14. Two entries of russh are not in that database, only in GitHub's: `just audit` does not see
//! them, so look for new ones at <https://github.com/Eugeny/russh/security/advisories> as well.

use anyhow::{Context, Result, bail};

/// A crate and an advisory about it.
struct Advisory {
    package: &'static str,
    id: &'static str,
    /// The first version with the fix, for each line of versions that has one.
    fixed: &'static [Version],
}

type Version = [u64; 3];

const ADVISORIES: &[Advisory] = &[
    advisory("aes-gcm", "RUSTSEC-2023-0096", &[[0, 10, 3]]),
    advisory("bytes", "RUSTSEC-2026-0007", &[[1, 11, 1]]),
    advisory("curve25519-dalek", "RUSTSEC-2024-0344", &[[4, 1, 3]]),
    advisory("ed25519-dalek", "RUSTSEC-2022-0093", &[[2, 0, 0]]),
    advisory("mio", "RUSTSEC-2024-0019", &[[0, 8, 11]]),
    advisory("rand", "RUSTSEC-2026-0097", &[[0, 9, 3], [0, 10, 1]]),
    advisory("ring", "RUSTSEC-2025-0009", &[[0, 17, 12]]),
    advisory("russh", "RUSTSEC-2026-0154", &[[0, 60, 3]]),
    advisory("russh", "CVE-2026-46702", &[[0, 61, 1]]),
    advisory("russh", "GHSA-47hw-gvq5-r2gm", &[[0, 63, 1]]),
    advisory("russh-cryptovec", "RUSTSEC-2026-0153", &[[0, 60, 3]]),
    advisory("rustls", "RUSTSEC-2024-0336", &[[0, 23, 5]]),
    advisory("rustls", "RUSTSEC-2026-0285", &[[0, 23, 45]]),
    advisory("rustls-webpki", "RUSTSEC-2026-0099", &[[0, 103, 12]]),
    advisory("rustls-webpki", "RUSTSEC-2026-0104", &[[0, 103, 13]]),
    advisory("slab", "RUSTSEC-2025-0047", &[[0, 4, 11]]),
    advisory("tokio", "RUSTSEC-2025-0023", &[[1, 44, 2]]),
    advisory("tracing-subscriber", "RUSTSEC-2025-0055", &[[0, 3, 20]]),
    advisory("tungstenite", "RUSTSEC-2023-0065", &[[0, 20, 1]]),
];

const fn advisory(package: &'static str, id: &'static str, fixed: &'static [Version]) -> Advisory {
    Advisory { package, id, fixed }
}

/// Checks the lock file of the workspace.
pub(crate) fn check() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.lock");
    let lock = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let affected = find_affected(&lock)?;
    if affected.is_empty() {
        println!("{} advisories compared", ADVISORIES.len());
        Ok(())
    } else {
        bail!(
            "a locked dependency has a known fault; run `cargo update`:\n  {}",
            affected.join("\n  ")
        )
    }
}

/// Returns a line for each locked package that an advisory is about. A package that is not locked any
/// more is an error, so that the record stays true.
fn find_affected(lock: &str) -> Result<Vec<String>> {
    let packages = locked_packages(lock);
    let mut affected = Vec::new();
    for Advisory { package, id, fixed } in ADVISORIES {
        let mut versions = packages
            .iter()
            .filter(|(name, _)| name == package)
            .peekable();
        if versions.peek().is_none() {
            bail!(
                "{package} is not in Cargo.lock: remove its advisory from xtask/src/advisories.rs"
            );
        }
        for (_, text) in versions {
            let version = parse_version(text)
                .with_context(|| format!("the version of {package} is not one: {text}"))?;
            if !is_fixed(version, fixed) {
                affected.push(format!("{package} {text}: {id}"));
            }
        }
    }
    Ok(affected)
}

/// Returns the names and versions of a lock file, in which they follow each other.
fn locked_packages(lock: &str) -> Vec<(&str, &str)> {
    let mut name = None;
    let mut packages = Vec::new();
    for line in lock.lines() {
        let quoted = |key| line.strip_prefix(key)?.strip_suffix('"');
        if let Some(found) = quoted("name = \"") {
            name = Some(found);
        } else if let Some(version) = quoted("version = \"") {
            packages.extend(name.take().map(|name| (name, version)));
        }
    }
    packages
}

/// Reads a version. What follows a hyphen or a plus does not count.
fn parse_version(text: &str) -> Option<Version> {
    let core = text.split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(str::parse);
    let version = [
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
        numbers.next()?.ok()?,
    ];
    numbers.next().is_none().then_some(version)
}

/// Compares a version with the fix of its own line, or with the newest if its line has none.
fn is_fixed(version: Version, fixed: &[Version]) -> bool {
    let line = |[major, minor, _]: Version| (major, if major == 0 { minor } else { 0 });
    let own = fixed.iter().find(|fix| line(**fix) == line(version));
    own.or(fixed.iter().max())
        .is_some_and(|fix| version >= *fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locked_versions_have_the_fixes() {
        let lock = include_str!("../../Cargo.lock");
        assert_eq!(find_affected(lock).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn an_older_version_is_found() {
        let lock = include_str!("../../Cargo.lock");
        let rustls = locked_packages(lock)
            .into_iter()
            .find(|(name, _)| *name == "rustls")
            .unwrap();
        let newer = format!("name = \"rustls\"\nversion = \"{}\"", rustls.1);
        let older = lock.replace(&newer, "name = \"rustls\"\nversion = \"0.23.44\"");
        assert_eq!(
            find_affected(&older).unwrap(),
            ["rustls 0.23.44: RUSTSEC-2026-0285"]
        );
        let without = lock.replace(&newer, "name = \"other\"\nversion = \"1.0.0\"");
        assert!(find_affected(&without).is_err());
    }

    #[test]
    fn each_line_of_versions_has_its_own_fix() {
        let fixed = &[[0, 9, 3], [0, 10, 1]];
        for (version, expected) in [
            ([0, 8, 9], false),
            ([0, 9, 2], false),
            ([0, 9, 3], true),
            ([0, 10, 0], false),
            ([0, 10, 1], true),
            ([0, 11, 0], true),
            ([1, 0, 0], true),
        ] {
            assert_eq!(is_fixed(version, fixed), expected, "{version:?}");
        }
        assert!(is_fixed([1, 44, 2], &[[1, 44, 2]]) && !is_fixed([1, 43, 9], &[[1, 44, 2]]));
    }

    #[test]
    fn versions_are_three_numbers() {
        assert_eq!(parse_version("0.7.0-rc.11"), Some([0, 7, 0]));
        assert_eq!(parse_version("1.2.3+build"), Some([1, 2, 3]));
        for text in ["1.2", "1.2.3.4", "a.b.c", ""] {
            assert_eq!(parse_version(text), None, "{text}");
        }
    }
}
