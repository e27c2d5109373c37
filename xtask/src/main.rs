//! The tasks of this repository: `cargo xtask help` lists them.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

mod advisories;
#[cfg(feature = "api")]
mod api;
#[cfg(feature = "bench")]
mod bench;
mod dist;
mod e2e;
mod fuzz;
mod image;
mod layers;
mod wheel;

const HELP: &str = "\
cargo xtask layers        assert which crate may depend on which
cargo xtask advisories    compare the locked dependencies with a record of security advisories
cargo xtask api           record the public API of each library in crates/NAME/api.txt
                          (--check: compare, and fail if they differ)
cargo xtask image         build the SSH server statically and write its image
                          (--command: the command `sandbox` instead;
                          --name NAME:TAG, --output FILE, --binary FILE, --arch amd64|arm64)
cargo xtask dist          build the command `sandbox` statically, with the SSH servers in it that it uploads into
                          Pods (--servers amd64,arm64: only these)
cargo xtask wheel         build the wheel of the Python package, with the command in it, in target/wheels
                          (--servers amd64,arm64: only these in the command; --policy manylinux_2_28: link with
                          zig against the glibc of this policy, not that of this machine)
cargo xtask e2e           run the end-to-end tests on a new kind cluster, then delete it
                          (--kubeconfig FILE, --context NAME: on an existing cluster;
                          --load 'COMMAND {}': load an image archive into it;
                          --transport auto,port-forward,direct: the transports to test)
cargo xtask fuzz          fuzz client and server with hostile peers, guided by coverage
                          (TARGET: only this one; --minutes N, --cases N: limits for each target, 10 and 10000000)
cargo xtask bench local   time local sandboxes next to OpenSSH and plain processes
cargo xtask bench gateway time sandboxes through the gateway next to a direct session
cargo xtask bench pool    time takes from a pool next to cold creations: locally, and on the cluster
                          of SANDBOX_KUBECONFIG if that is set
cargo xtask bench python  time the Python package of target/wheels next to the facade, paramiko and asyncssh
cargo xtask bench ssh     time the SSH engine next to OpenSSH, rsync, paramiko and asyncssh (--help)
cargo xtask bench k8s     time sandboxes on a cluster next to plain Pods and kubectl
                          (parts: start, exec, transfer, crowd, pool; then routes of pool, or shared; rows of start)
cargo xtask bench scale   measure one client with 100, 1,000 and 10,000 sandboxes of a fake API server
";

fn main() -> ExitCode {
    #[cfg(feature = "api")]
    if let Some(exit_code) = api::run_as_rustdoc() {
        return exit_code;
    }
    #[cfg(feature = "bench")]
    sandbox::local::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["layers"] => layers::check(),
        ["advisories"] => advisories::check(),
        ["api"] => api(false),
        ["api", "--check"] => api(true),
        ["image", ref rest @ ..] => image::run(rest),
        ["dist", ref rest @ ..] => dist::run(rest),
        ["wheel", ref rest @ ..] => wheel::run(rest),
        ["e2e", ref rest @ ..] => e2e::run(rest),
        ["fuzz", ref rest @ ..] => fuzz::run(rest),
        ["bench", ref rest @ ..] => bench(rest),
        ref other => bail!("unknown task {:?}\n{HELP}", other.join(" ")),
    }
}

/// Needs a crate that reads rustdoc's JSON. It is a feature, so that the other tasks build in a
/// second.
#[cfg(feature = "api")]
fn api(check: bool) -> Result<()> {
    api::run(check)
}

#[cfg(not(feature = "api"))]
fn api(check: bool) -> Result<()> {
    let args: &[&str] = if check { &["api", "--check"] } else { &["api"] };
    rerun_with(&["--features", "api"], args).context("cannot check the public API")
}

/// Runs this program again, built with other options. cargo reports its progress, because such a
/// build takes minutes the first time.
fn rerun_with(build_options: &[&str], args: &[&str]) -> Result<()> {
    eprintln!("xtask: building xtask with {}", build_options.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--package", "xtask"])
        .args(build_options)
        .arg("--")
        .args(args);
    let status = command.status().context("cannot start cargo")?;
    if status.success() {
        Ok(())
    } else {
        bail!("the task failed, see above")
    }
}

/// Whether the environment names the backend of sandboxes on a cluster.
fn is_cluster_the_backend() -> bool {
    std::env::var("SANDBOX_BACKEND").is_ok_and(|backend| backend == "k8s")
}

/// Benchmarks need a release build. The Kubernetes client is built only for the benchmark that uses
/// it, because that takes minutes.
fn bench(args: &[&str]) -> Result<()> {
    let on_cluster = match args.first() {
        Some(&("k8s" | "scale")) => true,
        Some(&"pool") => std::env::var_os("SANDBOX_KUBECONFIG").is_some(),
        Some(&"gateway") => is_cluster_the_backend(),
        Some(_) | None => false,
    };
    let feature = if on_cluster { "bench-k8s" } else { "bench" };
    #[cfg(feature = "bench")]
    if !cfg!(debug_assertions) && (feature == "bench" || cfg!(feature = "bench-k8s")) {
        return bench::run(args);
    }
    let args: Vec<&str> = std::iter::once("bench")
        .chain(args.iter().copied())
        .collect();
    rerun_with(&["--release", "--features", feature], &args)
}
