//! Builds the wheel of the Python package, with the command `sandbox` and the servers for Pods in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::dist::{self, Built};

/// The crate of the extension.
const MANIFEST: &str = "crates/sandbox-python/Cargo.toml";
/// What the wheel has besides the extension; pyproject.toml names it.
const DATA: &str = "target/python/wheel.data";
/// The environment of the build tools.
const TOOLS: &str = "target/python/tools";
/// Where the wheel is written.
const OUTPUT: &str = "target/wheels";
/// With zig it links against the glibc of any policy, not only that of this machine.
const PACKAGES: &str = "maturin[zig]==1.16.*";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    let servers: Vec<&str> = options
        .servers
        .iter()
        .flat_map(|names| ["--servers", names])
        .collect();
    // The command is static, so that it runs with every libc, and in every container.
    let built = dist::build_command(&servers)?;
    collect_data(&built)?;
    let python = prepare_tools()?;
    let mut maturin = Command::new(&python);
    maturin
        .args(["-m", "maturin", "build", "--release", "--strip", "true"])
        .args(["--manifest-path", MANIFEST, "--out", OUTPUT])
        // An extension for every version needs none in particular. A free-threaded interpreter has no stable ABI.
        .arg("--interpreter")
        .arg(options.python.map_or(python.as_path(), Path::new))
        .args(["--auditwheel", "repair"]);
    if let Some(policy) = options.policy {
        maturin.args(["--compatibility", policy, "--zig"]);
        if policy.starts_with("musllinux") {
            let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
            maturin.args(["--target", &target]);
        }
    }
    run_tool(maturin, "maturin")?;
    println!("the wheel is in {OUTPUT}");
    Ok(())
}

/// The options of the command line.
struct Options<'a> {
    servers: Option<&'a str>,
    policy: Option<&'a str>,
    python: Option<&'a str>,
}

impl<'a> Options<'a> {
    fn parse(args: &[&'a str]) -> Result<Self> {
        let mut options = Self {
            servers: None,
            policy: None,
            python: None,
        };
        let mut left = args;
        while let [name, value, rest @ ..] = left {
            match *name {
                "--servers" => options.servers = Some(value),
                "--policy" => options.policy = Some(value),
                "--python" => options.python = Some(value),
                _ => break,
            }
            left = rest;
        }
        if !left.is_empty() {
            bail!(
                "cargo xtask wheel takes only --servers amd64,arm64, --policy manylinux_2_28 or musllinux_1_2, and \
                 --python python3.14t"
            );
        }
        Ok(options)
    }
}

/// Puts the command where an installer puts programs, and the servers beside the extension.
fn collect_data(built: &Built) -> Result<()> {
    let data = Path::new(DATA);
    if data.exists() {
        fs::remove_dir_all(data).with_context(|| format!("cannot remove {DATA}"))?;
    }
    let copy = |from: &Path, to: PathBuf| {
        let directory = to.parent().context("a file is in a directory")?;
        fs::create_dir_all(directory)?;
        fs::copy(from, &to)
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
    };
    copy(&built.command, data.join("scripts/sandbox"))?;
    for (architecture, server) in &built.servers {
        let name = format!("platlib/sandbox_sdk/servers/sandbox-sshd-{architecture}");
        copy(server, data.join(name))?;
    }
    Ok(())
}

/// Creates the environment of the build tools, if needed; returns its interpreter.
fn prepare_tools() -> Result<PathBuf> {
    let python = std::path::absolute(Path::new(TOOLS).join("bin/python"))?;
    let installed = Path::new(TOOLS).join("installed");
    if fs::read_to_string(&installed).is_ok_and(|packages| packages == PACKAGES) {
        return Ok(python);
    }
    let mut venv = Command::new("python3");
    venv.args(["-m", "venv", "--clear", TOOLS]);
    run_tool(venv, "python3 -m venv")?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        PACKAGES,
    ]);
    run_tool(pip, "pip")?;
    fs::write(&installed, PACKAGES).context("cannot write in target/python")?;
    Ok(python)
}

fn run_tool(mut command: Command, name: &str) -> Result<()> {
    let status = command.status().with_context(|| {
        format!("cannot start {name}; install Python 3.10 or newer with its venv module")
    })?;
    ensure!(status.success(), "{name} failed, see above");
    Ok(())
}
