//! Reads the log of a sandbox, also while it grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::PathBuf;

use anyhow::Result;
use sandbox::SandboxId;

use super::{Decision, path_of, set_aside_path};

/// The longest line that is read. The process that writes them keeps far below.
const MAX_LINE: usize = 64 << 10;

/// The log of one sandbox, for reading.
#[derive(Debug)]
pub(crate) struct LogReader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// A line whose end has not been written yet.
    partial: Vec<u8>,
    has_begun: bool,
}

impl LogReader {
    /// Reads the log of this sandbox from its beginning.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub(crate) fn for_sandbox(id: &SandboxId) -> Result<Self> {
        Ok(Self::open(path_of(id)?))
    }

    pub(super) fn open(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            partial: Vec::new(),
            has_begun: false,
        }
    }

    /// Whether anything was recorded.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists() || set_aside_path(&self.path).exists()
    }

    /// Passes on what was recorded since the last time. A line that is no decision is left out.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub(crate) fn read_more(&mut self, take: &mut dyn FnMut(Decision)) -> io::Result<()> {
        if !self.has_begun {
            self.has_begun = true;
            self.file = open_if_exists(&set_aside_path(&self.path))?;
        }
        loop {
            self.read_file(take)?;
            // The file may have been set aside since. What was added to it before is read above, because lines are only
            // added to the file that has the name.
            let current = open_if_exists(&self.path)?;
            match (&self.file, current) {
                (_, None) => return Ok(()),
                (Some(file), Some(current)) if is_same(file.get_ref(), current.get_ref())? => {
                    return Ok(());
                }
                (_, Some(current)) => {
                    self.read_file(take)?;
                    self.file = Some(current);
                }
            }
        }
    }

    fn read_file(&mut self, take: &mut dyn FnMut(Decision)) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        loop {
            let read = file.read_until(b'\n', &mut self.partial)?;
            if read == 0 {
                return Ok(());
            }
            if !self.partial.ends_with(b"\n") {
                self.partial.truncate(MAX_LINE);
                return Ok(());
            }
            match serde_json::from_slice(&self.partial) {
                Ok(decision) => take(decision),
                Err(error) => tracing::debug!(%error, "line of the log left out"),
            }
            self.partial.clear();
        }
    }
}

fn open_if_exists(path: &std::path::Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Files are distinguished by the time of their creation.
#[cfg(not(unix))]
fn is_same(one: &File, other: &File) -> io::Result<bool> {
    Ok(one.metadata()?.created()? == other.metadata()?.created()?)
}
