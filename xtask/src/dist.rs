//! Builds the command with the SSH servers in it, which it uploads into Pods.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::write::ZlibEncoder;

use crate::image::{ARCHITECTURES, COMMAND, SERVER, build, hash, is_for};

/// The variable from which the build script of the command takes the directory of the servers.
const DIRECTORY_VARIABLE: &str = "SANDBOX_DIST_SERVERS";
/// Where the compressed servers are written.
const DIRECTORY: &str = "target/dist-servers";

/// What was built.
pub(crate) struct Built {
    pub(crate) command: PathBuf,
    /// The servers in it: the architecture as Kubernetes names it, and the program.
    pub(crate) servers: Vec<(&'static str, PathBuf)>,
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    build_command(args).map(drop)
}

pub(crate) fn build_command(args: &[&str]) -> Result<Built> {
    let directory = std::path::absolute(DIRECTORY)?;
    // A server of an earlier build would be embedded as well.
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
    }
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let mut total = 0;
    let mut servers = Vec::new();
    for (cargo, kubernetes) in parse(args)? {
        let program = build(SERVER.program, SERVER.build, cargo, &[])?;
        total += pack(&program, kubernetes, &directory)?;
        servers.push((kubernetes, program));
    }
    let variables = [(DIRECTORY_VARIABLE, directory.as_path())];
    let command = build(
        COMMAND.program,
        COMMAND.build,
        std::env::consts::ARCH,
        &variables,
    )?;
    println!(
        "the command, with {total} bytes of servers in it: {}",
        command.display()
    );
    Ok(Built { command, servers })
}

/// Returns the architectures whose servers are embedded: all, or those after `--servers`.
fn parse(args: &[&str]) -> Result<Vec<(&'static str, &'static str)>> {
    let names = match *args {
        [] => return Ok(ARCHITECTURES.to_vec()),
        ["--servers", names] => names,
        _ => bail!("cargo xtask dist takes only --servers amd64,arm64"),
    };
    let find = |name: &str| {
        let mut known = ARCHITECTURES.into_iter();
        known
            .find(|(_, kubernetes)| *kubernetes == name)
            .with_context(|| format!("{name} is not amd64 or arm64"))
    };
    names.split(',').map(find).collect()
}

/// Compresses a server, and writes it with its hash. Returns the compressed size.
fn pack(program: &Path, architecture: &str, directory: &Path) -> Result<usize> {
    let content =
        fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(
        is_for(&content, architecture),
        "{} is not built for {architecture}",
        program.display()
    );
    let mut packer = ZlibEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&content)?;
    let packed = packer.finish()?;
    let write = |extension: &str, content: &[u8]| {
        let file = directory.join(format!("sandbox-sshd-{architecture}.{extension}"));
        fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
    };
    write("zlib", &packed)?;
    write("sha256", hash(&content).as_bytes())?;
    Ok(packed.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_can_be_chosen() {
        assert_eq!(parse(&[]).unwrap().len(), 2);
        let one = parse(&["--servers", "arm64"]).unwrap();
        assert_eq!(one, [("aarch64", "arm64")]);
        for (args, expected) in [
            (&["--servers", "amd64,mips"][..], "mips"),
            (&["--arch", "amd64"], "--servers"),
            (&["--servers"], "--servers"),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_packed_server_has_its_hash_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("server");
        let mut content = vec![7; 1000];
        content[18] = 62;
        content[19] = 0;
        fs::write(&program, &content).unwrap();
        let size = pack(&program, "amd64", directory.path()).unwrap();
        let read = |name: &str| fs::read(directory.path().join(name)).unwrap();
        assert_eq!(read("sandbox-sshd-amd64.zlib").len(), size);
        assert_eq!(read("sandbox-sshd-amd64.sha256"), hash(&content).as_bytes());
        assert!(pack(&program, "arm64", directory.path()).is_err());
    }
}
