//! Tasks of this repository: `cargo xtask help`.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

#[cfg(feature = "api")]
mod api;
#[cfg(feature = "bench")]
mod bench;
mod e2e;
mod fuzz;
mod image;
mod layers;

const HELP: &str = "\
cargo xtask layers        assert which crate may depend on which
cargo xtask api           write what each library shows to others into crates/NAME/api.txt
                          (--check: compare, and fail where they differ)
cargo xtask image         build the SSH server statically and write the image that holds it
                          (--command: the command `sandbox` instead;
                          --name NAME:TAG, --output FILE, --binary FILE, --arch amd64|arm64)
cargo xtask e2e           run the end-to-end tests on a new cluster of kind's, and remove it
                          (--kubeconfig FILE, --context NAME: on a cluster that is there;
                          --load 'COMMAND {}': how an image's archive gets into it;
                          --transport auto,port-forward,direct: how Pods are reached)
cargo xtask fuzz          feed client and server what a hostile other end could say, guided by coverage
                          (TARGET: one alone; --minutes N, --cases N: of each, 10 and 10000000)
cargo xtask bench local   time local sandboxes next to OpenSSH and plain processes
cargo xtask bench ssh     time the SSH engine next to OpenSSH, rsync, paramiko and asyncssh (--help)
cargo xtask bench k8s     time sandboxes on a cluster next to plain Pods and kubectl
                          (parts: start, exec, transfer, crowd)
";

fn main() -> ExitCode {
    #[cfg(feature = "api")]
    if let Some(ended) = api::as_rustdoc() {
        return ended;
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
        ["api"] => api(false),
        ["api", "--check"] => api(true),
        ["image", ref rest @ ..] => image::run(rest),
        ["e2e", ref rest @ ..] => e2e::run(rest),
        ["fuzz", ref rest @ ..] => fuzz::run(rest),
        ["bench", ref rest @ ..] => bench(rest),
        ref other => bail!("there is no task {:?}\n{HELP}", other.join(" ")),
    }
}

/// Built with what reads rustdoc's JSON; without it the other tasks build in a second.
#[cfg(feature = "api")]
fn api(check: bool) -> Result<()> {
    api::run(check)
}

#[cfg(not(feature = "api"))]
fn api(check: bool) -> Result<()> {
    let args: &[&str] = if check { &["api", "--check"] } else { &["api"] };
    again(&["--features", "api"], args).context("the public API could not be compared")
}

/// Runs this program, built otherwise.
fn again(how: &[&str], args: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["run", "--quiet", "--package", "xtask"])
        .args(how)
        .arg("--")
        .args(args);
    let status = command.status().context("cargo could not be started")?;
    if status.success() {
        Ok(())
    } else {
        bail!("it failed, see above")
    }
}

/// Benchmarks run optimised, whatever this program was built as, and with no more than they need:
/// a client of Kubernetes takes minutes to build.
fn bench(args: &[&str]) -> Result<()> {
    let feature = if args.first() == Some(&"k8s") {
        "bench-k8s"
    } else {
        "bench"
    };
    #[cfg(feature = "bench")]
    if !cfg!(debug_assertions) && (feature == "bench" || cfg!(feature = "bench-k8s")) {
        return bench::run(args);
    }
    let args: Vec<&str> = std::iter::once("bench")
        .chain(args.iter().copied())
        .collect();
    again(&["--release", "--features", feature], &args)
}
