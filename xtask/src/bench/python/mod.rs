//! Times the Python package next to the facade that it is built on, next to paramiko and asyncssh, which talk to the SSH
//! server of the same sandbox, and next to E2B's SDK, which talks to the gateway.

mod turns;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sandbox::{Client, Endpoint, Sandbox};

use self::turns::measure_turns;
use super::figures::{Figures, table};
use super::gateway::server::Server;

const CLIENT: &str = include_str!("client.py");
/// The virtual environment, which is made anew if the wheel has changed.
const DIRECTORY: &str = "target/python/bench";
/// Where `cargo xtask wheel` writes.
const WHEELS: &str = "target/wheels";
const COMMANDS: usize = 300;
const AT_ONCE: usize = 1000;

/// The figures of a program, by what was timed.
type Measured = BTreeMap<String, Figures>;

pub(crate) fn run() -> Result<()> {
    let python = install()?;
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(async {
            let client = Client::from_env().await?;
            let sbx = client.sandbox().create().await?;
            let measured = measure(&client, &sbx, &python).await;
            sbx.delete().await?;
            measured
        })
}

/// Installs the wheel that was built last for any version of Python, and the peers.
fn install() -> Result<PathBuf> {
    let mut wheels = Vec::new();
    for entry in std::fs::read_dir(WHEELS).context("build a wheel first: cargo xtask wheel")? {
        let path = entry?.path();
        let is_for_any_version = path.file_name().is_some_and(|name| {
            let name = name.to_string_lossy();
            name.ends_with(".whl") && name.contains("-abi3-")
        });
        if is_for_any_version {
            wheels.push((path.metadata()?.modified()?, path));
        }
    }
    let (_, wheel) = wheels
        .into_iter()
        .max()
        .context("build a wheel first: cargo xtask wheel")?;
    let python = Path::new(DIRECTORY).join("bin/python");
    let mut venv = Command::new("python3");
    start(venv.args(["-m", "venv", DIRECTORY]))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    start(pip.args(["paramiko", "asyncssh", "e2b"]))?;
    let mut pip = Command::new(&python);
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    start(pip.args(["--force-reinstall", "--no-deps"]).arg(wheel))?;
    Ok(python)
}

async fn measure(client: &Client, sbx: &Sandbox, python: &Path) -> Result<()> {
    let access = client.access(sbx.id()).await?;
    let Endpoint::Unix(socket) = &access.endpoint else {
        bail!("bench python needs local sandboxes: unset SANDBOX_BACKEND");
    };
    let files = tempfile::tempdir()?;
    let key = files.path().join("key");
    std::fs::write(&key, access.client_key.expose())?;
    set_private(&key)?;
    let script = files.path().join("client.py");
    std::fs::write(&script, CLIENT)?;
    let peer = |library: &str| -> Result<Measured> {
        eprintln!("bench python: {library}");
        let mut command = Command::new(python);
        command
            .arg(&script)
            .args([library, sbx.id().as_str()])
            .arg(socket)
            .arg(&access.user)
            .arg(&key);
        parse(&mut command)
    };
    let facade = measure_facade(sbx).await?;
    let ours = peer("sandbox_sdk")?;
    let paramiko = peer("paramiko")?;
    let asyncssh = peer("asyncssh")?;
    let e2b = measure_e2b(python, &script)?;
    table(
        "A command, `true`",
        "Rust",
        &[
            ("Rust", facade.get("command")),
            ("sandbox_sdk", ours.get("command")),
            ("asyncssh", asyncssh.get("command")),
            ("paramiko", paramiko.get("command")),
            (
                "paramiko, after a check as in the original SDK",
                paramiko.get("command after a check"),
            ),
            (
                "E2B's SDK over our gateway, in a login shell",
                e2b.get("command"),
            ),
        ],
    );
    let name = "at once";
    let rows = [("Rust", facade.get(name)), ("sandbox_sdk", ours.get(name))];
    table("1,000 commands at once", "Rust", &rows);
    table(
        "Import",
        "sandbox_sdk",
        &[("sandbox_sdk", ours.get("import"))],
    );
    eprintln!("bench python: much data");
    measure_turns(sbx, python, &script, files.path()).await
}

async fn measure_facade(sbx: &Sandbox) -> Result<Measured> {
    eprintln!("bench python: the facade");
    let mut measured = Measured::new();
    let mut add = |name: &str, since: Instant| {
        measured.entry(name.to_owned()).or_default().add(since);
    };
    sbx.command("true").output().await?.check()?;
    for _ in 0..COMMANDS {
        let start = Instant::now();
        sbx.command("true").output().await?.check()?;
        add("command", start);
    }
    let start = Instant::now();
    let commands = (0..AT_ONCE).map(|_| sbx.command("true").output());
    for output in futures_util::future::join_all(commands).await {
        output?.check()?;
    }
    add("at once", start);
    Ok(measured)
}

/// E2B's SDK has no SSH: a gateway on this machine answers it.
fn measure_e2b(python: &Path, script: &Path) -> Result<Measured> {
    eprintln!("bench python: e2b");
    let gateway = Server::start()?;
    let url = format!("http://{}", gateway.address());
    parse(
        Command::new(python)
            .arg(script)
            .arg("e2b")
            .env("E2B_API_KEY", gateway.key())
            .env("E2B_API_URL", &url)
            .env("E2B_SANDBOX_URL", &url),
    )
}

/// Runs a client, and reads the seconds that it prints.
fn parse(command: &mut Command) -> Result<Measured> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start Python")?;
    ensure!(output.status.success(), "the client failed, see above");
    let seconds: BTreeMap<String, Vec<f64>> = serde_json::from_slice(&output.stdout)?;
    let figures = |seconds: Vec<f64>| {
        let mut figures = Figures::default();
        for second in seconds {
            figures.add_duration(Duration::from_secs_f64(second));
        }
        figures
    };
    let named = seconds.into_iter();
    Ok(named
        .map(|(name, seconds)| (name, figures(seconds)))
        .collect())
}

fn start(command: &mut Command) -> Result<()> {
    let status = command.status().context("cannot start Python")?;
    ensure!(status.success(), "{command:?} failed, see above");
    Ok(())
}

/// SSH libraries refuse a private key that others can read.
fn set_private(path: &Path) -> Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(())
}
