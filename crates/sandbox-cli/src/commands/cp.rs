//! `sandbox cp`: copies files and trees into a sandbox and out of it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sandbox::{
    ByteSize, Client, Discarded, Error, FileKind, FilePath, Sandbox, Transfer, TransferReason,
    TreeLimits, TreeReport,
};

use crate::args::id;
use crate::args::path::{CopyPath, is_content_of_directory, parse_copy_path};
use crate::exit::{EXIT_PARTIAL, Outcome};
use crate::ui::messages;
use crate::ui::transfer_progress::TransferProgress;

/// Copy files and directories into a sandbox, or out of it
///
/// Write the path in the sandbox as ID:PATH, absolute or relative to the home directory. As with
/// docker, a copy to an existing directory is placed in it under the name of the source, and a
/// source that ends in /. means the content of the directory. Write a local name with a colon as
/// ./a:b.
///
/// Modes and times are copied, also those of directories, except of a destination directory that
/// exists. Set-uid, set-gid and sticky bits of files are dropped, and files from a sandbox cannot be
/// written by other users of this machine. A destination file keeps its owner where that is permitted.
/// Symbolic links in a directory are copied as links. A destination that is a symbolic link is written through, and a device or FIFO
/// gets the bytes as they arrive; other files appear when they are complete.
///
/// A file that grows meanwhile is copied as long as it was at first. Files of a directory that cannot
/// be read, shrink or vanish are reported, and so are directories that cannot be created because
/// something else has their name, with what is in them. The rest is copied, and the exit code is 23.
///
/// Use - for stdin or stdout. It carries the bytes of one file, not a tar archive as with docker. A
/// file that is replaced by stdin keeps its mode.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// PATH, ID:PATH or -
    #[arg(value_name = "SOURCE")]
    source: OsString,
    /// ID:PATH, PATH or -
    #[arg(value_name = "DESTINATION")]
    destination: OsString,
    /// Keep partial data and continue an interrupted copy of a single file. Data already there is
    /// verified first. Use it from the first attempt. Not for directories or -
    #[arg(long)]
    resume: bool,
    /// Refuse to copy more bytes than this out of the sandbox, such as 500Gi [default: 64Gi]
    #[arg(long, value_name = "SIZE")]
    max_size: Option<ByteSize>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    /// Accepted for users of cp; trees are always copied completely.
    #[arg(short = 'r', short_alias = 'R', long, hide = true)]
    recursive: bool,
    #[arg(short, long, hide = true)]
    archive: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox cp src ID:              # to ~/src in the sandbox; src/. copies the content of src
  sandbox cp ID:out/report.pdf .
  sandbox cp --resume big.tar ID:/data/big.tar
  pg_dump db | sandbox cp - ID:dump.sql";

const RESUME_NEEDS_FILE: &str = "is a directory, and --resume supports single files only; use cp without it, or rsync \
                                 (`sandbox ssh-config --install`)";

/// How many skipped and how many failed files are printed.
const MAX_EXCEPTIONS: usize = 20;

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let progress = TransferProgress::new(args.quiet);
    let source = parse_copy_path(&args.source)?;
    let destination = parse_copy_path(&args.destination)?;
    if args.resume && (source == CopyPath::Stream || destination == CopyPath::Stream) {
        bail!(
            "--resume does not support -, because a stream cannot be continued; write the name of a file in place of -"
        );
    }
    let mut limits = TreeLimits::default();
    if let Some(size) = args.max_size {
        limits.bytes = size.as_bytes();
    }
    let new_transfer = |sandbox: &Sandbox| {
        let transfer = sandbox.transfer().limits(limits).resume(args.resume);
        progress.track(transfer)
    };
    let report = match (source, destination) {
        (CopyPath::Local(local), CopyPath::Remote(id, remote)) => {
            let tree = is_tree(&local)?;
            if args.resume && tree {
                bail!("{} {RESUME_NEEDS_FILE}", quote(&local));
            }
            let sandbox = id::connect(client, &id).await?;
            upload(&sandbox, new_transfer(&sandbox), &local, tree, &remote).await?
        }
        (CopyPath::Remote(id, remote), CopyPath::Local(local)) => {
            let sandbox = id::connect(client, &id).await?;
            let kind = find_source_kind(&sandbox, &remote).await?;
            if args.resume && kind == FileKind::Directory {
                bail!("{remote:?} {RESUME_NEEDS_FILE}");
            }
            download(new_transfer(&sandbox), &remote, kind, &local).await?
        }
        (CopyPath::Stream, CopyPath::Remote(id, remote)) => {
            let sandbox = id::connect(client, &id).await?;
            single_file_report(sandbox.upload_from(progress.wrap_stdin(), remote).await?)
        }
        (CopyPath::Remote(id, remote), CopyPath::Stream) => {
            let sandbox = id::connect(client, &id).await?;
            let size = sandbox.files().stat(&remote).await?.size;
            // The size of files that are generated when they are read, as in /proc, is 0.
            let output = progress.wrap_stdout(Some(size).filter(|size| *size > 0));
            let transfer = sandbox.transfer().limits(limits);
            single_file_report(transfer.download_to(remote, output).await?)
        }
        (CopyPath::Local(_) | CopyPath::Stream, CopyPath::Local(_) | CopyPath::Stream) => {
            bail!("both paths are local; write ID:PATH for the one in the sandbox, or use cp")
        }
        (CopyPath::Remote(..), CopyPath::Remote(..)) => {
            bail!(
                "both paths are in a sandbox; copy to a local file first, or use `sandbox exec ID -- cp`"
            )
        }
    };
    progress.finish();
    print_exceptions(&report);
    tracing::info!(
        files = report.files,
        bytes = report.bytes,
        failures = report.failures,
        "copied"
    );
    Ok(if report.failures == 0 {
        0
    } else {
        EXIT_PARTIAL
    })
}

/// Prints what was not copied. A sandbox may have any number of such files.
fn print_exceptions(report: &TreeReport) {
    for skipped in report.skipped.iter().take(MAX_EXCEPTIONS) {
        messages::print_note(&format!("skipped {:?}: {}", skipped.path, skipped.reason));
    }
    if let Some(more @ 1..) = report.skipped.len().checked_sub(MAX_EXCEPTIONS) {
        messages::print_note(&format!("skipped {more} more"));
    }
    let shown = report.failed.iter().take(MAX_EXCEPTIONS);
    for failed in shown.clone() {
        let (path, message) = (&failed.path, &failed.message);
        messages::print_note(&format!("could not copy {path:?}: {message}"));
    }
    if report.failures > 0 {
        let hidden = match report.failures - shown.count() as u64 {
            0 => String::new(),
            hidden => format!(", of which {hidden} are not shown"),
        };
        messages::print_note(&format!(
            "the copy is incomplete: {} could not be copied{hidden}",
            report.failures
        ));
    }
}

/// Whether a local source is a directory.
fn is_tree(local: &Path) -> Result<bool> {
    let metadata = std::fs::metadata(local);
    Ok(metadata
        .with_context(|| format!("cannot copy {}", quote(local)))?
        .is_dir())
}

async fn upload(
    sandbox: &Sandbox,
    transfer: Transfer,
    local: &Path,
    tree: bool,
    remote: &FilePath,
) -> Result<TreeReport> {
    let existing = find_kind(sandbox, remote).await?;
    // Without a name, as in `..`, the directory itself is meant.
    let path_in_remote = |name: Option<&OsStr>| match name {
        Some(name) => remote.join(name.as_encoded_bytes()),
        None => remote.clone(),
    };
    if tree {
        let target = match existing {
            Some(FileKind::Directory) if !is_content_of_directory(&local.into()) => {
                path_in_remote(local.file_name())
            }
            Some(FileKind::Directory) | None => remote.clone(),
            Some(_) => bail!(
                "cannot copy the directory {} to {remote:?}, which is a file in the sandbox",
                quote(local)
            ),
        };
        return Ok(transfer.upload_dir(local, target).await?);
    }
    let target = match existing {
        Some(FileKind::Directory) => path_in_remote(local.file_name()),
        None if remote.as_bytes().ends_with(b"/") => {
            refuse_slash_after_file(sandbox, remote).await?;
            bail!(
                "there is no directory {remote:?} in the sandbox; create it with `sandbox exec ID -- mkdir`"
            )
        }
        _ => remote.clone(),
    };
    Ok(single_file_report(
        transfer.upload(local, target).await?.bytes,
    ))
}

async fn download(
    transfer: Transfer,
    remote: &FilePath,
    source: FileKind,
    local: &Path,
) -> Result<TreeReport> {
    let name = base_name(remote)?;
    let is_directory = local.is_dir();
    let target = match (source, name) {
        (FileKind::Directory, Some(name)) if is_directory && !is_content_of_directory(remote) => {
            local.join(name)
        }
        (FileKind::Directory, _) if !is_directory && local.exists() => {
            bail!(
                "cannot copy the directory {remote:?} to {}, which is a file on this machine",
                quote(local)
            )
        }
        (FileKind::File, Some(name)) if is_directory => local.join(name),
        (FileKind::File, _)
            if !is_directory && local.as_os_str().as_encoded_bytes().ends_with(b"/") =>
        {
            bail!("there is no directory {} on this machine", quote(local))
        }
        _ => local.to_owned(),
    };
    match source {
        FileKind::Directory => Ok(transfer.download_dir(remote, target).await?),
        FileKind::File => {
            let report = transfer.download(remote, target).await?;
            if report.discarded == Some(Discarded::NotPrivate) {
                messages::print_note(
                    "the partial file beside the destination was not used: other users may have made it or changed it",
                );
            }
            Ok(single_file_report(report.bytes))
        }
        _ => bail!("{remote:?} is neither a file nor a directory"),
    }
}

/// The last component of a path in the sandbox, as a name on this machine; `None` if it is a
/// directory's name for itself or its parent.
fn base_name(remote: &FilePath) -> Result<Option<PathBuf>> {
    let name = remote
        .as_bytes()
        .rsplit(|byte| *byte == b'/')
        .find(|name| !name.is_empty())
        .filter(|name| !matches!(*name, b"." | b".."))
        .map(FilePath::from);
    name.map(|name| {
        let path = name.as_path().map(Path::to_owned);
        path.with_context(|| format!("{name:?} cannot be the name of a file on this machine"))
    })
    .transpose()
}

/// Formats a local path for a message.
fn quote(local: &Path) -> String {
    format!("{:?}", FilePath::from(local))
}

async fn find_source_kind(sandbox: &Sandbox, remote: &FilePath) -> Result<FileKind> {
    if let Some(kind) = find_kind(sandbox, remote).await? {
        return Ok(kind);
    }
    refuse_slash_after_file(sandbox, remote).await?;
    bail!(
        "there is no file or directory {remote:?} in sandbox {}",
        sandbox.id()
    )
}

/// Refuses a path of nothing that would be one of a file without the slash at its end.
async fn refuse_slash_after_file(sandbox: &Sandbox, remote: &FilePath) -> Result<()> {
    let mut name = remote.as_bytes();
    while let [start @ .., b'/'] = name {
        name = start;
    }
    let name = FilePath::from(name);
    if name.len() < remote.len() && find_kind(sandbox, &name).await?.is_some() {
        bail!(
            "{name:?} in sandbox {} is not a directory: leave out the slash at its end",
            sandbox.id()
        )
    }
    Ok(())
}

/// The kind of file at a path in the sandbox, if it exists.
async fn find_kind(sandbox: &Sandbox, path: &FilePath) -> Result<Option<FileKind>> {
    match sandbox.files().stat(path).await {
        Ok(info) => Ok(Some(info.kind)),
        Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn single_file_report(bytes: u64) -> TreeReport {
    let mut report = TreeReport::default();
    report.files = 1;
    report.bytes = bytes;
    report
}
