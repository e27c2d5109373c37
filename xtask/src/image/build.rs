//! Static programs, the same bytes from the same sources wherever those lie.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Statically linked, getrandom does not find the libc's function by its name and would need
/// /dev/urandom, which an empty root does not have: it is told to ask the kernel.
const FLAGS: [&str; 4] = [
    "-C",
    "target-feature=+crt-static",
    "--cfg",
    "getrandom_backend=\"linux_raw\"",
];

/// Builds what `package` names, for this processor; where it then is.
pub(super) fn build(program: &str, package: &[&str], architecture: &str) -> Result<PathBuf> {
    let target = format!("{architecture}-unknown-linux-gnu");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--release", "--locked"])
        .args(package)
        .args(["--target", &target])
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?);
    let linker = format!(
        "CARGO_TARGET_{}_LINKER",
        target.to_uppercase().replace('-', "_")
    );
    if architecture != std::env::consts::ARCH && std::env::var_os(&linker).is_none() {
        // As Debian and Fedora call their cross compilers.
        command.env(linker, format!("{architecture}-linux-gnu-gcc"));
    }
    let status = command.status().context("cargo could not be started")?;
    ensure!(
        status.success(),
        "{program} could not be built for {target}; for another processor that needs its standard library and a C \
         compiler: `rustup target add {target}` and `apt-get install gcc-{}-linux-gnu`",
        architecture.replace('_', "-")
    );
    let directory =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(directory.join(target).join("release").join(program))
}

/// For rustc, as cargo takes them. Where the sources lie on this machine is left out of the
/// program.
fn flags() -> Result<String> {
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).into();
    let here = std::env::current_dir().context("the current directory is gone")?;
    flags.push(format!("--remap-path-prefix={}=/sandbox", here.display()));
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    if let Some(cargo) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home) {
        flags.push(format!("--remap-path-prefix={}=/cargo", cargo.display()));
    }
    Ok(flags.join("\x1f"))
}

/// Whether a program is for this processor, by its ELF header (`e_machine`, little-endian).
pub(super) fn is_for(program: &[u8], architecture: &str) -> bool {
    let machine: u16 = if architecture == "arm64" { 183 } else { 62 };
    program.get(18..20) == Some(&machine.to_le_bytes()[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_for_one_processor() {
        let mut header = [0; 64];
        header[18] = 183;
        assert!(is_for(&header, "arm64") && !is_for(&header, "amd64"));
        header[18] = 62;
        assert!(is_for(&header, "amd64") && !is_for(&header, "arm64"));
        assert!(!is_for(b"\x7fELF", "amd64"));
    }
}
