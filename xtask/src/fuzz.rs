//! Runs the fuzz targets with libFuzzer, instrumented for coverage. The stable compiler can do
//! that, so neither cargo-fuzz nor a nightly compiler is needed, only a C++ compiler.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

const PACKAGE: &str = "tests/fuzz/libfuzzer/Cargo.toml";
const CORPUS: &str = "tests/fuzz/corpus";
const TARGET_DIRECTORY: &str = "target/fuzz";
/// The flags that cargo-fuzz uses as well: a counter for each branch, and operands of comparisons.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

struct Options {
    target: Option<String>,
    minutes: u64,
    cases: u64,
}

pub(crate) fn run(args: &[&str]) -> Result<()> {
    let options = Options::parse(args)?;
    let program = build()?;
    let mut targets: Vec<String> = std::fs::read_dir(CORPUS)
        .with_context(|| format!("{CORPUS} is missing; run this from the top of the repository"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    targets.sort();
    targets.retain(|name| options.target.as_ref().is_none_or(|wanted| wanted == name));
    if targets.is_empty() {
        bail!("unknown target; {CORPUS} has a directory for each target");
    }
    let mut found = Vec::new();
    for target in targets {
        println!(
            "{target}: {} cases or {} minutes",
            options.cases, options.minutes
        );
        if !fuzz(&program, &target, &options)? {
            found.push(target);
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    bail!(
        "fuzzing found failures in {}: the inputs are in {TARGET_DIRECTORY}",
        found.join(", ")
    )
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self {
            target: None,
            minutes: 10,
            cases: 10_000_000,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64> {
                let value = args
                    .next()
                    .with_context(|| format!("{arg} needs a number"))?;
                value
                    .parse()
                    .with_context(|| format!("{arg} {value}: not a number"))
            };
            match *arg {
                "--minutes" => options.minutes = number()?,
                "--cases" => options.cases = number()?,
                name if !name.starts_with('-') && options.target.is_none() => {
                    options.target = Some(name.into())
                }
                other => {
                    bail!(
                        "unknown argument {other}: cargo xtask fuzz [TARGET] [--minutes N] [--cases N]"
                    )
                }
            }
        }
        Ok(options)
    }
}

fn build() -> Result<PathBuf> {
    println!("building the fuzz targets");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let host = host()?;
    // With --target, build scripts and macros are not instrumented.
    let status = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--manifest-path",
            PACKAGE,
            "--target-dir",
            TARGET_DIRECTORY,
        ])
        .args(["--target", &host])
        .env("RUSTFLAGS", INSTRUMENTED)
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the fuzz targets do not build");
    }
    Ok(Path::new(TARGET_DIRECTORY)
        .join(host)
        .join("release/sandbox-libfuzzer"))
}

fn host() -> Result<String> {
    let output = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot start rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(line.context("rustc -vV does not name its host")?.to_owned())
}

/// Fuzzes one target; returns whether no failure was found. Inputs that reach new code are merged
/// into the corpus, as few as cover all of it.
fn fuzz(program: &Path, target: &str, options: &Options) -> Result<bool> {
    let corpus = Path::new(CORPUS).join(target);
    let work = Path::new(TARGET_DIRECTORY).join(format!("corpus-{target}"));
    std::fs::create_dir_all(&work)?;
    let command = |args: &[String]| {
        Command::new(program)
            .args(args)
            .env("SANDBOX_FUZZ_TARGET", target)
            .status()
            .context("libFuzzer")
    };
    let status = command(&[
        format!("-max_total_time={}", options.minutes * 60),
        format!("-runs={}", options.cases),
        "-max_len=1024".into(),
        "-timeout=30".into(),
        "-rss_limit_mb=3000".into(),
        "-print_final_stats=1".into(),
        format!("-artifact_prefix={TARGET_DIRECTORY}/{target}-"),
        work.to_string_lossy().into_owned(),
        corpus.to_string_lossy().into_owned(),
    ])?;
    let merged = command(&[
        "-merge=1".into(),
        "-max_len=1024".into(),
        corpus.to_string_lossy().into_owned(),
        work.to_string_lossy().into_owned(),
    ])?;
    Ok(status.success() && merged.success())
}
