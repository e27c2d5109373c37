//! Runs the end-to-end tests on a cluster: a new kind cluster, or an existing one.

mod exit_status;
mod kind;
mod options;
mod programs;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::image;
use exit_status::require_success;
use kind::Kind;
use options::{Options, Target};

/// The default image of sandboxes; it has a shell and the usual tools.
const IMAGE: &str = "docker.io/library/busybox:1.37";
/// Names another image.
const IMAGE_VARIABLE: &str = "SANDBOX_TEST_IMAGE";
/// Names an image with the server that the nodes have or can pull. Then none is built or loaded.
const SERVER_VARIABLE: &str = "SANDBOX_TEST_SERVER_IMAGE";
/// The same for the image with the command, which the Job of `deploy/` runs.
const COMMAND_VARIABLE: &str = "SANDBOX_TEST_COMMAND_IMAGE";
/// Names a built command, which is tested on the cluster as well.
const PROGRAM_VARIABLE: &str = "SANDBOX_TEST_COMMAND";
/// Names a program with `kill COMPONENT` and `start COMPONENT`, for the tests in which components
/// of the cluster fail.
const SCRIPT_VARIABLE: &str = "SANDBOX_TEST_CLUSTER_SCRIPT";

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(perform(options))
}

/// Deletes the cluster that it created, whether the tests pass, fail, or are ended by a signal.
async fn perform(options: Options) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    programs::check(&options.target).await?;
    let archives = build_images(&options)?;
    let created = match options.target {
        Target::Kind => Some(Kind::new()?),
        Target::Existing { .. } => None,
    };
    let outcome = tokio::select! {
        outcome = run_tests(&options, created.as_ref(), &archives) => outcome,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("terminated")),
    };
    let deleted = match created {
        Some(kind) => kind.delete().await,
        None => Ok(()),
    };
    outcome.and(deleted)
}

/// Builds the server's image and the command's, unless variables name images that the cluster has.
fn build_images(options: &Options) -> Result<Vec<PathBuf>> {
    let mut archives = Vec::new();
    for (variable, name, flags) in [
        (SERVER_VARIABLE, "sandbox-sshd", &[][..]),
        (COMMAND_VARIABLE, "sandbox-command", &["--command"]),
    ] {
        if let Some(image) = std::env::var_os(variable) {
            println!(
                "e2e: using {} as the image of {name} ({variable})",
                image.display()
            );
            continue;
        }
        ensure!(
            options.load.is_some() || options.target == Target::Kind,
            "cannot load the image of {name} into the cluster: name a command with --load 'COMMAND {{}}', where {{}} stands for \
             the archive's path; or push the image to a registry (cargo xtask image {}) and name it in {variable}",
            flags.concat()
        );
        println!("e2e: building the image of {name}");
        let archive = target_directory().join(format!("e2e-{name}.oci.tar"));
        let output = archive
            .to_str()
            .context("the target directory's path is not UTF-8")?;
        image::run(&[flags, &["--output", output]].concat())?;
        archives.push(archive);
    }
    Ok(archives)
}

async fn run_tests(options: &Options, created: Option<&Kind>, archives: &[PathBuf]) -> Result<()> {
    let kubeconfig = match (created, &options.target) {
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
    show_nodes(&kubeconfig, context).await?;
    let program = build_command().await?;
    for archive in archives {
        match (&options.load, created) {
            (Some(load), _) => load_with(load, archive).await?,
            (None, Some(kind)) => kind.load(archive).await?,
            (None, None) => bail!("--load is missing: it loads an image archive into the cluster"),
        }
    }
    let mut ran = Vec::new();
    for transport in &options.transports {
        println!("e2e: running the tests over {transport}");
        let mut list = test_program("k8s", &kubeconfig, context);
        list.env("SANDBOX_TEST_TRANSPORT", transport)
            .env(PROGRAM_VARIABLE, &program);
        require_success(list.status().await, &format!("the tests over {transport}"))?;
        ran.push(format!("the tests over {transport}"));
    }
    println!("e2e: running the tests with many clients and with faults");
    require_success(
        test_program("k8s-faults", &kubeconfig, context)
            .status()
            .await,
        "the tests with many clients and with faults",
    )?;
    let has_script = std::env::var_os(SCRIPT_VARIABLE).is_some();
    ran.push(format!(
        "many clients, killed clients{}",
        if has_script {
            ", failing components"
        } else {
            ""
        }
    ));
    if !has_script {
        println!(
            "e2e: NOT RUN: the tests in which components of the cluster fail ({SCRIPT_VARIABLE} is not set)"
        );
    }
    println!("e2e: passed: {}", ran.join(", "));
    Ok(())
}

/// What every build of a test has in common. The whole workspace is selected, as by `cargo test --workspace`: for one
/// package alone, most crates would have other features, and be built once more.
const TEST: [&str; 4] = ["test", "--quiet", "--locked", "--workspace"];

/// Builds the command `sandbox`, unless a variable names one.
async fn build_command() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(PROGRAM_VARIABLE) {
        return Ok(named.into());
    }
    println!("e2e: building the command");
    let mut build = cargo();
    // Its tests need it.
    build.args(TEST).args(["--no-run", "--test", "command"]);
    require_success(
        build.kill_on_drop(true).status().await,
        "building the command",
    )?;
    std::path::absolute(target_directory().join("debug/sandbox"))
        .context("cannot determine the target directory")
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A test program with its environment.
fn test_program(name: &str, kubeconfig: &Path, context: Option<&str>) -> Command {
    let mut command = cargo();
    command.args(TEST).args(["--test", name]);
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

/// Prints the nodes, which proves that the cluster is reachable.
async fn show_nodes(kubeconfig: &Path, context: Option<&str>) -> Result<()> {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(kubeconfig);
    if let Some(context) = context {
        kubectl.args(["--context", context]);
    }
    kubectl.args(["get", "nodes"]).kill_on_drop(true);
    require_success(kubectl.status().await, "asking the cluster for its nodes")
}

async fn load_with(load: &str, archive: &Path) -> Result<()> {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(load.replace("{}", "\"$1\""))
        .arg("sh")
        .arg(archive)
        .kill_on_drop(true);
    require_success(shell.status().await, &format!("loading the image ({load})"))
}

fn target_directory() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}
