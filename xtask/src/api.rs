//! The public surface of each library, as text in the repository: `crates/NAME/api.txt`.
//!
//! rustdoc writes what it knows as JSON, which on a stable compiler has to be asked for by
//! `RUSTC_BOOTSTRAP`. Only rustdoc is given that variable, by this program standing in for it:
//! build scripts that see it would build their crates another way, and all of them once more.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// The libraries that others may depend on.
const CRATES: [&str; 7] = [
    "sandbox",
    "sandbox-config",
    "sandbox-core",
    "sandbox-k8s",
    "sandbox-local",
    "sandbox-ssh",
    "sandbox-sshd",
];
/// All but the mocks, which follow from the traits.
const FEATURES: &str = "sandbox/k8s,sandbox/local,sandbox/metrics";
/// What rustdoc says of its JSON, and what this version of the crate `public-api` reads.
const FORMAT: u64 = 57;
/// Set for the process that stands in for rustdoc: the real one.
const STANDS_IN_FOR: &str = "XTASK_STANDS_IN_FOR";

pub(crate) fn run(check: bool) -> Result<()> {
    let directory = describe()?;
    let mut changed = Vec::new();
    for name in CRATES {
        let found = surface(&directory.join(format!("{}.json", name.replace('-', "_"))))?;
        let path = Path::new("crates").join(name).join("api.txt");
        let known = fs::read_to_string(&path).unwrap_or_default();
        println!("{name:<16}{} items", found.lines().count());
        if known == found {
            continue;
        }
        if check {
            print!("{}", difference(&path, &known, &found));
            changed.push(name);
        } else {
            fs::write(&path, found).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    bail!(
        "the public API of {} is not what the repository says; if it is to be so, run `cargo xtask api`, commit \
         api.txt, and say in CHANGELOG.md what it means for users",
        changed.join(", ")
    )
}

/// Whether this process was started as rustdoc, and what came of it.
pub(crate) fn as_rustdoc() -> Option<ExitCode> {
    let real = std::env::var_os(STANDS_IN_FOR)?;
    let status = Command::new(real)
        .args(std::env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .status();
    Some(match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rustdoc could not be started: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Lets rustdoc describe all of them; gives the directory with a file for each.
fn describe() -> Result<PathBuf> {
    let variable =
        |name: &str, default: &str| std::env::var_os(name).unwrap_or_else(|| default.into());
    let mut cargo = Command::new(variable("CARGO", "cargo"));
    cargo.args([
        "doc",
        "--locked",
        "--quiet",
        "--no-deps",
        "--lib",
        "--features",
        FEATURES,
    ]);
    cargo.args(CRATES.iter().flat_map(|name| ["--package", name]));
    cargo.env(STANDS_IN_FOR, variable("RUSTDOC", "rustdoc"));
    cargo.env(
        "RUSTDOC",
        std::env::current_exe().context("this program's path is not known")?,
    );
    cargo.env(
        "RUSTDOCFLAGS",
        "-Z unstable-options --output-format json --cap-lints allow",
    );
    let status = cargo.status().context("cargo could not be started")?;
    if !status.success() {
        bail!("rustdoc failed");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("doc"))
}

/// One item a line, ordered.
fn surface(json: &Path) -> Result<String> {
    let shown = json.display();
    let text =
        fs::read_to_string(json).with_context(|| format!("rustdoc did not write {shown}"))?;
    let version = text
        .rsplit_once("\"format_version\":")
        .and_then(|(_, after)| {
            after
                .split(|byte: char| !byte.is_ascii_digit())
                .next()
                .and_then(|digits| digits.parse::<u64>().ok())
        });
    if version != Some(FORMAT) {
        bail!(
            "this compiler's rustdoc writes format {version:?} and the crate public-api of xtask/Cargo.toml reads \
             {FORMAT}: take the version of it that fits, and change FORMAT in xtask/src/api.rs"
        );
    }
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("{shown} cannot be read"))?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// What is gone, and what is new. Order says nothing: the items are sorted.
fn difference(path: &Path, known: &str, found: &str) -> String {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (known.lines().collect(), found.lines().collect());
    let mut lines: Vec<(&str, char)> = old.difference(&new).map(|line| (*line, '-')).collect();
    lines.extend(new.difference(&old).map(|line| (*line, '+')));
    lines.sort_unstable();
    let lines: String = lines
        .iter()
        .map(|(line, sign)| format!("  {sign} {line}\n"))
        .collect();
    format!("{}:\n{lines}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_only_what_changed() {
        let shown = difference(
            Path::new("a/api.txt"),
            "pub fn a()\npub fn b()\n",
            "pub fn a()\npub fn b(u8)\n",
        );
        assert_eq!(shown, "a/api.txt:\n  - pub fn b()\n  + pub fn b(u8)\n");
    }
}
