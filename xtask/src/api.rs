//! Records the public API of each library in the repository: `crates/NAME/api.txt`.
//!
//! rustdoc writes its JSON on a stable compiler only if `RUSTC_BOOTSTRAP` is set. Build scripts
//! that see this variable would build their crates differently, and cargo would rebuild all of
//! them. So this program takes rustdoc's place (`RUSTDOC`) and sets the variable for rustdoc alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

/// The libraries that others may depend on.
const CRATES: [&str; 8] = [
    "sandbox",
    "sandbox-config",
    "sandbox-core",
    "sandbox-egress",
    "sandbox-k8s",
    "sandbox-local",
    "sandbox-ssh",
    "sandbox-sshd",
];
/// All but the mocks, which follow from the traits.
const FEATURES: &str = "sandbox/k8s,sandbox/local,sandbox/metrics";
/// The format version of rustdoc's JSON that this version of the crate `public-api` reads.
const FORMAT: u64 = 57;
/// Names the real rustdoc for the process that takes its place.
const REAL_RUSTDOC: &str = "XTASK_REAL_RUSTDOC";

pub(crate) fn run(check: bool) -> Result<()> {
    let directory = write_json()?;
    let mut changed = Vec::new();
    for name in CRATES {
        let found = public_items(&directory.join(format!("{}.json", name.replace('-', "_"))))?;
        let path = Path::new("crates").join(name).join("api.txt");
        let recorded = fs::read_to_string(&path).unwrap_or_default();
        println!("{name:<16}{} items", found.lines().count());
        if recorded == found {
            continue;
        }
        if check {
            print!("{}", difference(&path, &recorded, &found));
            changed.push(name);
        } else {
            fs::write(&path, found).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    bail!(
        "the public API of {} differs from its api.txt; if that is intended, run `cargo xtask api`, commit api.txt, \
         and describe the change in CHANGELOG.md",
        changed.join(", ")
    )
}

/// Runs the real rustdoc if this process was started in its place; returns its exit code.
pub(crate) fn run_as_rustdoc() -> Option<ExitCode> {
    let real = std::env::var_os(REAL_RUSTDOC)?;
    let status = Command::new(real)
        .args(std::env::args_os().skip(1))
        .env("RUSTC_BOOTSTRAP", "1")
        .status();
    Some(match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot start rustdoc: {error}");
            ExitCode::FAILURE
        }
    })
}

/// Lets rustdoc write its JSON for all crates; returns the directory of the files.
fn write_json() -> Result<PathBuf> {
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
    cargo.env(REAL_RUSTDOC, variable("RUSTDOC", "rustdoc"));
    cargo.env(
        "RUSTDOC",
        std::env::current_exe().context("cannot determine this program's path")?,
    );
    cargo.env(
        "RUSTDOCFLAGS",
        "-Z unstable-options --output-format json --cap-lints allow",
    );
    let status = cargo.status().context("cannot start cargo")?;
    if !status.success() {
        bail!("rustdoc failed");
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("doc"))
}

/// The public items, one a line, sorted.
fn public_items(json: &Path) -> Result<String> {
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
            "this compiler's rustdoc writes format {version:?}, but the crate public-api reads {FORMAT}: select the matching \
             version of public-api in Cargo.toml, and change FORMAT in xtask/src/api.rs"
        );
    }
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .with_context(|| format!("cannot read {shown}"))?;
    Ok(api.items().map(|item| format!("{item}\n")).collect())
}

/// The removed and the added items.
fn difference(path: &Path, recorded: &str, found: &str) -> String {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (recorded.lines().collect(), found.lines().collect());
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
