//! Builds static programs reproducibly: the same sources give the same bytes, wherever the checkout
//! is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// In a static program, getrandom cannot look up libc's function by its name and would open
/// /dev/urandom, which an empty image does not have. The `linux_raw` backend uses the system call.
const FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "--cfg",
    "getrandom_backend=\"linux_raw\"",
];

/// Builds a program for an architecture, with these variables for its build scripts; returns the path of the binary.
pub(crate) fn build(
    program: &str,
    package: &[&str],
    architecture: &str,
    variables: &[(&str, &Path)],
) -> Result<PathBuf> {
    let target = format!("{architecture}-unknown-linux-gnu");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked"])
        .args(package)
        .args(["--target", &target])
        .env_remove("RUSTFLAGS")
        .envs(variables.iter().copied())
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    let linker = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    if architecture != std::env::consts::ARCH && std::env::var_os(&linker).is_none() {
        // The name of the cross compiler in Debian and Fedora.
        command.env(linker, format!("{architecture}-linux-gnu-gcc"));
    }
    let status = command.status().context("cannot start cargo")?;
    ensure!(
        status.success(),
        "cannot build {program} for {target}; another architecture needs its standard library and a C compiler: \
         `rustup target add {target}` and `apt-get install gcc-{}-linux-gnu`",
        architecture.replace('_', "-")
    );
    let directory =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(directory.join(target).join("release").join(program))
}

/// Flags for rustc in the format of `CARGO_ENCODED_RUSTFLAGS`. Paths of this machine are remapped,
/// so that they do not end up in the program.
fn flags() -> Result<String> {
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    let here = std::env::current_dir().context("cannot determine the current directory")?;
    flags.push(format!("--remap-path-prefix={}=/sandbox", here.display()));
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    if let Some(cargo) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        flags.push(format!("--remap-path-prefix={}=/cargo", cargo.display()));
    }
    Ok(flags.join("\x1f"))
}

/// Whether a program is built for an architecture, by its ELF header (`e_machine`, little-endian).
pub(crate) fn is_for(program: &[u8], architecture: &str) -> bool {
    let e_machine: u16 = if architecture == "arm64" { 183 } else { 62 };
    program.get(18..20) == Some(&e_machine.to_le_bytes()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_built_for_one_architecture() {
        let mut header = [0; 64];
        header[18] = 183;
        assert!(is_for(&header, "arm64") && !is_for(&header, "amd64"));
        header[18] = 62;
        assert!(is_for(&header, "amd64") && !is_for(&header, "arm64"));
        assert!(!is_for(b"\x7fELF", "amd64"));
    }
}
