//! The end-to-end tests on a cluster: one of kind's that is made for them, or one that is there.

mod kind;
mod options;
mod programs;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::image;
use kind::Kind;
use options::{Options, Target};

/// What sandboxes are made of where nothing else is said: it has a shell and the usual tools.
const IMAGE: &str = "docker.io/library/busybox:1.37";
/// The variable that names it.
const IMAGE_VARIABLE: &str = "SANDBOX_TEST_IMAGE";
/// An image with the server that the nodes have, or can fetch: nothing is built or loaded then.
const SERVER_VARIABLE: &str = "SANDBOX_TEST_SERVER_IMAGE";
/// The same with the command, for the Job of `deploy/`.
const COMMAND_VARIABLE: &str = "SANDBOX_TEST_COMMAND_IMAGE";
/// The built command, which is tried on the cluster as well.
const PROGRAM_VARIABLE: &str = "SANDBOX_TEST_COMMAND";
/// A script with `kill COMPONENT` and `start COMPONENT`, for the tests in which a cluster's parts fail.
const SCRIPT_VARIABLE: &str = "SANDBOX_TEST_CLUSTER_SCRIPT";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(perform(options))
}

/// Whatever becomes of the tests, also when a signal ends them, a cluster made here is removed.
async fn perform(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    programs::check(&options.target).await?;
    let archives = archives(&options)?;
    let made = match options.target {
        Target::Kind => Some(Kind::new()?),
        Target::Existing { .. } => None,
    };
    let outcome = tokio::select! {
        outcome = tests(&options, made.as_ref(), &archives) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let removed = match made {
        Some(kind) => kind.remove().await,
        None => Ok(()),
    };
    outcome.and(removed)
}

/// The server's image and the command's, unless the cluster has them.
fn archives(options: &Options) -> Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for (variable, name, flags) in [
        (SERVER_VARIABLE, "sandbox-sshd", &[][..]),
        (COMMAND_VARIABLE, "sandbox-command", &["--command"]),
    ] {
        if let Some(image) = std::env::var_os(variable) {
            println!(
                "e2e: {name} is {} ({variable}); none is built",
                image.display()
            );
            continue;
        }
        ensure!(
            options.load.is_some() || options.target == Target::Kind,
            "how does the image of {name} get into the cluster? --load 'COMMAND {{}}' is run with the archive's path \
             for {{}}; or push it to a registry (cargo xtask image {}) and name it in {variable}",
            flags.concat()
        );
        println!("e2e: building the image of {name}");
        let archive = target_directory().join(format!("e2e-{name}.oci.tar"));
        let output = archive
            .to_str()
            .context("the target directory's path is no text")?;
        image::run(&[flags, &["--output", output]].concat())?;
        archives.push(archive);
    }
    Ok(archives)
}

async fn tests(options: &Options, made: Option<&Kind>, archives: &[PathBuf]) -> Result<()> {
    let kubeconfig = match (made, &options.target) {
        (Some(kind), _) => {
            kind.create().await?;
            kind.kubeconfig()
        }
        (None, Target::Existing { kubeconfig, .. }) => kubeconfig.clone(),
        (None, Target::Kind) => bail!("kind was not started"),
    };
    let context = match &options.target {
        Target::Existing { context, .. } => context.as_deref(),
        Target::Kind => None,
    };
    nodes(&kubeconfig, context).await?;
    let program = program().await?;
    for archive in archives {
        match (&options.load, made) {
            (Some(load), _) => load_with(load, archive).await?,
            (None, Some(kind)) => kind.load(archive).await?,
            (None, None) => bail!("nothing says how images get into the cluster"),
        }
    }
    let mut ran = Vec::new();
    for transport in &options.transports {
        println!("e2e: the list over {transport}");
        let mut list = test("k8s", &kubeconfig, context);
        list.env("SANDBOX_TEST_TRANSPORT", transport)
            .env(PROGRAM_VARIABLE, &program);
        finish(list.status().await, &format!("the list over {transport}"))?;
        ran.push(format!("the list over {transport}"));
    }
    println!("e2e: a cluster of one's own: crowds, faults");
    finish(
        test("k8s-faults", &kubeconfig, context).status().await,
        "the tests with crowds and faults",
    )?;
    let components = std::env::var_os(SCRIPT_VARIABLE).is_some();
    ran.push(format!(
        "crowds, killed clients{}",
        if components {
            ", failing components"
        } else {
            ""
        }
    ));
    if !components {
        println!(
            "e2e: NOT RUN: the tests in which a cluster's components fail ({SCRIPT_VARIABLE} is not set)"
        );
    }
    println!("e2e: passed: {}", ran.join(", "));
    Ok(())
}

/// Builds the command, unless one is named.
async fn program() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(named.into());
    }
    let mut build = cargo();
    build.args([
        "build",
        "--quiet",
        "--locked",
        "--package",
        "sandbox-cli",
        "--bin",
        "sandbox",
    ]);
    finish(
        build.kill_on_drop(true).status().await,
        "building the command",
    )?;
    std::path::absolute(target_directory().join("debug/sandbox"))
        .context("the target directory has no path")
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// One test program, with all that it has to know.
fn test(name: &str, kubeconfig: &Path, context: Option<&str>) -> Command {
    let mut command = cargo();
    command.args([
        "test",
        "--quiet",
        "--locked",
        "--package",
        "sandbox-tests",
        "--test",
        name,
    ]);
    command.env("SANDBOX_TEST_KUBECONFIG", kubeconfig);
    if std::env::var_os(IMAGE_VARIABLE).is_none() {
        command.env(IMAGE_VARIABLE, IMAGE);
    }
    if let Some(context) = context {
        command.env("SANDBOX_TEST_CONTEXT", context);
    }
    command.kill_on_drop(true);
    command
}

/// Shows what the tests run on, and finds out that it answers.
async fn nodes(kubeconfig: &Path, context: Option<&str>) -> Result<()> {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig);
    if let Some(context) = context {
        kubectl.args(["--context", context]);
    }
    kubectl.args(["get", "nodes"]).kill_on_drop(true);
    finish(kubectl.status().await, "asking the cluster for its nodes")
}

async fn load_with(load: &str, archive: &Path) -> Result<()> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(load.replace("{}", "\"$1\""))
        .arg("sh")
        .arg(archive)
        .kill_on_drop(true);
    finish(shell.status().await, &format!("loading the image ({load})"))
}

fn finish(status: std::io::Result<ExitStatus>, what: &str) -> Result<()> {
    let status = status.with_context(|| format!("{what} could not be started"))?;
    if status.success() {
        Ok(())
    } else {
        bail!("{what} failed: {status}")
    }
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}
