//! A directory of a sandbox onto this machine. What is inside is untrusted.

use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, DownloadRequest, Error, FileInfo, FileKind, Result, TransferReason};

use super::{AT_ONCE, Skipped, TreeLimits, TreeReport, below};
use crate::Sandbox;
use crate::copy::local_error;

impl Sandbox {
    /// Copies a directory of the sandbox to the local directory `local`, which is made when it
    /// is not there; files that are there are replaced, others stay.
    ///
    /// Whatever names, links and sizes the sandbox shows, nothing outside of `local` is
    /// written: every path is resolved below it, links are not followed, and links that lead
    /// out of it, devices and FIFOs are left out and reported. Set-uid bits are stripped.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed, or the limit that was reached.
    /// What was copied before stays.
    pub async fn download_dir(
        &self,
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        self.download_dir_within(remote, local, TreeLimits::default()).await
    }

    /// The same within limits of one's own.
    ///
    /// # Errors
    ///
    /// As [`download_dir`](Self::download_dir).
    pub async fn download_dir_within(
        &self,
        remote: impl Into<String>,
        local: impl AsRef<Path>,
        limits: TreeLimits,
    ) -> Result<TreeReport> {
        let (remote, local) = (Self::tree_root(remote.into()), local.as_ref());
        let failed = |source| local_error(Direction::Download, local, source);
        let entries = self.look_through(&remote, limits).await?;
        std::fs::create_dir_all(local).map_err(failed)?;
        let top = Arc::new(Dir::open_ambient_dir(local, ambient_authority()).map_err(failed)?);

        let mut report = TreeReport { directories: 1, ..TreeReport::default() };
        let (mut files, mut links) = (Vec::new(), Vec::new());
        for (name, info) in entries {
            match info.kind {
                FileKind::Directory => {
                    make_directory(&top, &name)
                        .map_err(|source| local_error(Direction::Download, &local.join(&name), source))?;
                    report.directories += 1;
                }
                FileKind::File => files.push((name, info)),
                FileKind::Symlink => links.push(name),
                _ => {
                    report.skipped.push(Skipped { path: name, reason: "it is a device, a FIFO or a socket" })
                }
            }
        }
        // Owned values in each future, or the whole would not be `Send` for the compiler.
        let copies = stream::iter(files).map(|(name, info)| {
            let (sandbox, top, remote) = (self.clone(), Arc::clone(&top), below(&remote, &name));
            async move { sandbox.download_below(remote, top, &name, &info).await }
        });
        let sizes: Vec<u64> = copies.buffer_unordered(AT_ONCE).try_collect().await?;
        report.files = sizes.len() as u64;
        report.bytes = sizes.iter().sum();
        // Links come last, so that no file is written through one of them.
        for name in links {
            let target =
                self.inner.explained(self.inner.session.read_link(&below(&remote, &name)).await).await?;
            match leads_out(&name, &target) {
                true => report
                    .skipped
                    .push(Skipped { path: name, reason: "it is a link that leads out of the directory" }),
                false => {
                    make_link(&top, &target, &name)
                        .map_err(|source| local_error(Direction::Download, &local.join(&name), source))?;
                    report.symlinks += 1;
                }
            }
        }
        Ok(report)
    }

    /// Everything below a directory, parents before their children, by relative name.
    async fn look_through(&self, remote: &str, limits: TreeLimits) -> Result<Vec<(String, FileInfo)>> {
        let mut found: Vec<(String, FileInfo)> = Vec::new();
        let mut bytes = 0_u64;
        let mut directories = vec![(String::new(), 0)];
        while let Some((directory, depth)) = directories.pop() {
            let path = if directory.is_empty() { remote.to_owned() } else { below(remote, &directory) };
            let too_large = |what: &str| {
                Error::transfer(Direction::Download, path.clone(), TransferReason::TooLarge, what, None)
            };
            if depth > limits.depth {
                return Err(too_large("its directories lie deeper than the limit"));
            }
            for entry in self.inner.explained(self.inner.session.list(&path).await).await? {
                let name =
                    if directory.is_empty() { entry.name.clone() } else { below(&directory, &entry.name) };
                if entry.kind == FileKind::File {
                    bytes = bytes.saturating_add(entry.size);
                }
                if bytes > limits.bytes {
                    return Err(too_large("its files have more bytes than the limit"));
                }
                if found.len() as u64 >= limits.entries {
                    return Err(too_large("it has more entries than the limit"));
                }
                if entry.kind == FileKind::Directory {
                    directories.push((name.clone(), depth + 1));
                }
                found.push((name, entry));
            }
        }
        Ok(found)
    }

    /// One file, to a temporary name beside its own, which it takes when complete.
    async fn download_below(self, remote: String, top: Arc<Dir>, name: &str, info: &FileInfo) -> Result<u64> {
        let failed = |source| local_error(Direction::Download, Path::new(name), source);
        let temporary = Temporary::create(&top, name).map_err(failed)?;
        let writer = tokio::fs::File::from_std(temporary.file.try_clone().map_err(failed)?.into_std());
        let mut request = DownloadRequest::new(remote);
        // No more than was announced, so that the limit on all of them holds.
        request.max_size = Some(info.size);
        let size = self.inner.explained(self.inner.session.download(request, Box::new(writer)).await).await?;
        temporary.finish(info, name).map_err(failed)?;
        Ok(size)
    }
}

/// A file that is not complete yet, and goes away unless it is finished.
struct Temporary {
    top: Arc<Dir>,
    path: Option<String>,
    file: cap_std::fs::File,
}

impl Temporary {
    fn create(top: &Arc<Dir>, name: &str) -> std::io::Result<Self> {
        // The real name may be 255 bytes long already, so it is no part of the temporary one.
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let random = sandbox_core::Uid::generate().map_err(std::io::Error::other)?;
        let path = below(parent, &format!(".sandbox-{random}"));
        let file = top.open_with(&path, OpenOptions::new().write(true).create_new(true))?;
        Ok(Self { top: Arc::clone(top), path: Some(path), file })
    }

    fn finish(mut self, info: &FileInfo, name: &str) -> std::io::Result<()> {
        let file = self.file.try_clone()?.into_std();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            file.set_permissions(std::fs::Permissions::from_mode(info.mode & 0o777))?;
        }
        if let Some(modified) = info.modified {
            file.set_modified(modified)?;
        }
        if let Some(path) = self.path.take() {
            self.top.rename(&path, &self.top, name)?;
        }
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.top.remove_file(&path)
        {
            tracing::warn!(path, %error, "a temporary file could not be removed");
        }
    }
}

fn make_directory(top: &Dir, name: &str) -> std::io::Result<()> {
    match top.create_dir(name) {
        Err(error)
            if error.kind() == std::io::ErrorKind::AlreadyExists && top.symlink_metadata(name)?.is_dir() =>
        {
            Ok(())
        }
        result => result,
    }
}

fn make_link(top: &Dir, target: &str, name: &str) -> std::io::Result<()> {
    if top.symlink_metadata(name).is_ok_and(|there| there.is_symlink()) {
        top.remove_file(name)?;
    }
    #[cfg(unix)]
    {
        top.symlink(target, name)
    }
    #[cfg(not(unix))]
    {
        let _ = (target, name);
        Err(std::io::Error::other("symbolic links are not made on this system"))
    }
}

/// Whether a link at `name`, relative to the top, could lead out of it, whatever else is there.
///
/// It goes up only at its beginning, and no further than there are directories above it, which
/// are real ones. A step up after a name is refused too: that name may be a link itself, as in
/// `d/x -> ..` with `y -> d/x/..`.
fn leads_out(name: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return true;
    }
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
    let mut up = 0;
    while parts.next_if_eq(&"..").is_some() {
        up += 1;
    }
    up > name.matches('/').count() || parts.any(|part| part == "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_are_seen() {
        for (name, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("a", "../x"),
            ("d/a", "../../x"),
            ("a", "b/../../x"),
            ("a", "d/x/.."),
            ("a", ""),
        ] {
            assert!(leads_out(name, target), "{name} -> {target}");
        }
        for (name, target) in [("a", "b"), ("d/a", "../b"), ("a", "./b//c"), ("d/e/a", "../../b")] {
            assert!(!leads_out(name, target), "{name} -> {target}");
        }
    }
}
