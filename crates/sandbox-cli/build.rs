//! Embeds the SSH servers that `cargo xtask dist` has built and compressed. Without them the command has none.

use std::error::Error;
use std::fmt::Write;
use std::path::PathBuf;

/// The variable with the directory of the servers.
const DIRECTORY: &str = "SANDBOX_DIST_SERVERS";

/// The architectures: their names in file names, and as variants of `Architecture`.
const ARCHITECTURES: [(&str, &str); 2] = [("amd64", "Amd64"), ("arm64", "Arm64")];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={DIRECTORY}");
    let mut list = "&[".to_owned();
    if let Some(directory) = std::env::var_os(DIRECTORY).map(PathBuf::from) {
        for (name, variant) in ARCHITECTURES {
            let packed = directory.join(format!("sandbox-sshd-{name}.zlib"));
            println!("cargo::rerun-if-changed={}", packed.display());
            if packed.exists() {
                let hash = packed.with_extension("sha256");
                write!(
                    list,
                    "Server {{ architecture: Architecture::{variant}, packed: include_bytes!({packed:?}), sha256: \
                     include_str!({hash:?}) }},"
                )?;
            }
        }
    }
    list.push(']');
    let output = std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?;
    std::fs::write(PathBuf::from(output).join("servers.rs"), list)?;
    Ok(())
}
