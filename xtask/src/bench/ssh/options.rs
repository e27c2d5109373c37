//! The options of `cargo xtask bench ssh`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub(crate) const HELP: &str = "\
cargo xtask bench ssh [parts: connect, exec, many, large, small]
    --size MIB       size of the large file (1024); half of it with a delay, less if that would take minutes
    --files N        number of small files (10000); fewer if that would take minutes
    --rounds N       rounds of the large file without a delay (3); half as many of the small files, one with a delay
    --rtt MS         round trip to add (20); 0 skips the measurements with a delay
    --python FILE    Python to install paramiko and asyncssh for, in target/bench-python (python3)
    --no-write       print the tables, but do not change docs/";

/// The parts in the order in which they run.
pub(super) const PARTS: [&str; 5] = ["connect", "exec", "many", "large", "small"];

#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) parts: Vec<String>,
    /// Bytes.
    pub(super) size: u64,
    pub(super) files: usize,
    pub(super) rounds: usize,
    /// Milliseconds.
    pub(super) rtt: u64,
    pub(super) python: Option<PathBuf>,
    pub(super) write: bool,
}

impl Options {
    pub(super) fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self {
            parts: vec![],
            size: 1 << 30,
            files: 10_000,
            rounds: 3,
            rtt: 20,
            python: None,
            write: true,
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
                "--size" => options.size = number()?.max(8) << 20,
                "--files" => options.files = usize::try_from(number()?)?.max(100),
                "--rounds" => options.rounds = usize::try_from(number()?)?.max(1),
                "--rtt" => options.rtt = number()?,
                "--python" => {
                    options.python = Some(args.next().context("--python needs a file")?.into())
                }
                "--no-write" => options.write = false,
                part if PARTS.contains(&part) => options.parts.push(part.to_owned()),
                other => bail!("unknown argument {other}\n{HELP}"),
            }
        }
        Ok(options)
    }

    pub(super) fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|wanted| wanted == part)
    }
}
