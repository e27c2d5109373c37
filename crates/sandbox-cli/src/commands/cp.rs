//! `sandbox cp`: files and trees into a sandbox and out of it.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sandbox::{Client, Error, FileKind, Sandbox, Transfer, TransferReason, TreeReport};

use crate::args::id;
use crate::args::path::{Side, means_content, side};
use crate::exit::Outcome;
use crate::ui::messages;
use crate::ui::transfer_progress::TransferProgress;

/// Copy files and directories into a sandbox, or out of it
///
/// One side is ID:PATH, with the path absolute or relative to the sandbox's home directory. As
/// with docker, what is copied to a directory that exists goes into it under its own name; a
/// source that ends in /. means what is in it. Trees are copied as they are, with modes and times.
/// Write a local name with a colon as ./a:b.
///
/// A side that is - is standard input or output: the bytes of one file as they are, and not a tar archive
/// as with docker.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// PATH or ID:PATH
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// ID:PATH or PATH
    #[arg(value_name = "DESTINATION")]
    destination: OsString,
    /// Keep what has arrived when the copy of a file is cut off, and go on there the next time; what is
    /// there is proved first. Give it from the start. Neither for directories nor for -
    #[arg(long)]
    resume: bool,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// What is done in any case.
    #[arg(short = 'r', short_alias = 'R', long, hide = true)]
    recursive: bool,
    #[arg(short, long, hide = true)]
    archive: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox cp src ID:              # as ID's ~/src; src/. copies what is in it
  sandbox cp ID:out/report.pdf .
  sandbox cp --resume big.tar ID:/data/big.tar
  pg_dump db | sandbox cp - ID:dump.sql";

const NO_TREES: &str = "is a directory, and --resume goes on with a single file: leave it out, or use rsync \
                        (`sandbox ssh-config --install`)";

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let progress = TransferProgress::new(args.quiet);
    let (source, destination) = (side(&args.source)?, side(&args.destination)?);
    if args.resume && (source == Side::Stream || destination == Side::Stream) {
        bail!(
            "--resume needs a file on both sides, to see what is there already: write its name in place of -"
        );
    }
    let prepared = |sandbox: &Sandbox| progress.watch(sandbox.transfer().resume(args.resume));
    let report = match (source, destination) {
        (Side::Local(local), Side::Remote(id, remote)) => {
            let tree = is_tree(&local)?;
            if args.resume && tree {
                bail!("{:?} {NO_TREES}", local.display().to_string());
            }
            let sandbox = id::connect(client, &id).await?;
            upload(&sandbox, prepared(&sandbox), &local, tree, &remote).await?
        }
        (Side::Remote(id, remote), Side::Local(local)) => {
            let sandbox = id::connect(client, &id).await?;
            let kind = kind_of_source(&sandbox, &remote).await?;
            if args.resume && kind == FileKind::Directory {
                bail!("{remote:?} {NO_TREES}");
            }
            download(prepared(&sandbox), &remote, kind, &local).await?
        }
        (Side::Stream, Side::Remote(id, remote)) => {
            let sandbox = id::connect(client, &id).await?;
            one_file(sandbox.upload_from(progress.input(), remote).await?)
        }
        (Side::Remote(id, remote), Side::Stream) => {
            let sandbox = id::connect(client, &id).await?;
            let size = sandbox.files().stat(remote.as_str()).await?.size;
            // Of what is made as it is read, as in /proc, none is told.
            let output = progress.output(Some(size).filter(|size| *size > 0));
            one_file(sandbox.download_to(remote, output).await?)
        }
        (Side::Local(_) | Side::Stream, Side::Local(_) | Side::Stream) => {
            bail!("both sides are local: write ID:PATH for the one in the sandbox, or use cp")
        }
        (Side::Remote(..), Side::Remote(..)) => {
            bail!(
                "both sides are in a sandbox: copy to a local file first, or use `sandbox exec ID -- cp`"
            )
        }
    };
    progress.end();
    for skipped in report.skipped {
        messages::note(&format!("left out {:?}: {}", skipped.path, skipped.reason));
    }
    tracing::info!(files = report.files, bytes = report.bytes, "copied");
    Ok(0)
}

fn is_tree(local: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(local);
    Ok(metadata
        .with_context(|| format!("cannot copy {:?}", local.display().to_string()))?
        .is_dir())
}

async fn upload(
    sandbox: &Sandbox,
    transfer: Transfer,
    local: &Path,
    tree: bool,
    remote: &str,
) -> Result<TreeReport> {
    let there = kind(sandbox, remote).await?;
    let into = |name: Option<&OsStr>| -> Result<String> {
        let name = name.map(|name| {
            name.to_str()
                .context("its name is not UTF-8, which SFTP cannot carry; rename it")
        });
        Ok(match name.transpose()? {
            Some(name) => format!("{}/{name}", remote.trim_end_matches('/')),
            None => remote.to_owned(),
        })
    };
    if tree {
        let target = match there {
            Some(FileKind::Directory) if !means_content(local.as_os_str()) => {
                into(local.file_name())?
            }
            Some(FileKind::Directory) | None => remote.to_owned(),
            Some(_) => bail!(
                "{remote:?} is a file in the sandbox, and {:?} a directory",
                local.display().to_string()
            ),
        };
        return Ok(transfer.upload_dir(local, target).await?);
    }
    let target = match there {
        Some(FileKind::Directory) => into(local.file_name())?,
        None if remote.ends_with('/') => bail!("there is no directory {remote:?} in the sandbox"),
        _ => remote.to_owned(),
    };
    Ok(one_file(transfer.upload(local, target).await?.bytes))
}

async fn download(
    transfer: Transfer,
    remote: &str,
    source: FileKind,
    local: &Path,
) -> Result<TreeReport> {
    let shown = local.display().to_string();
    let name = remote
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .filter(|name| !matches!(*name, "" | "." | ".."));
    let is_directory = local.is_dir();
    let target = match (source, name) {
        (FileKind::Directory, Some(name)) if is_directory && !means_content(OsStr::new(remote)) => {
            local.join(name)
        }
        (FileKind::Directory, _) if !is_directory && local.exists() => {
            bail!("{shown:?} is a file here, and {remote:?} a directory in the sandbox")
        }
        (FileKind::File, Some(name)) if is_directory => local.join(name),
        (FileKind::File, _) if !is_directory && shown.ends_with('/') => {
            bail!("there is no directory {shown:?} here")
        }
        _ => local.to_owned(),
    };
    match source {
        FileKind::Directory => Ok(transfer.download_dir(remote, target).await?),
        FileKind::File => Ok(one_file(transfer.download(remote, target).await?.bytes)),
        _ => bail!("{remote:?} is neither a file nor a directory"),
    }
}

async fn kind_of_source(sandbox: &Sandbox, remote: &str) -> Result<FileKind> {
    let kind = kind(sandbox, remote).await?;
    kind.with_context(|| format!("there is no {remote:?} in sandbox {}", sandbox.id()))
}

/// What a path in the sandbox leads to, if to anything.
async fn kind(sandbox: &Sandbox, path: &str) -> Result<Option<FileKind>> {
    match sandbox.files().stat(path).await {
        Ok(info) => Ok(Some(info.kind)),
        Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn one_file(bytes: u64) -> TreeReport {
    let mut report = TreeReport::default();
    (report.files, report.bytes) = (1, bytes);
    report
}
