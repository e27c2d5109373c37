//! A local file whose content is not complete.

use std::io::{self, Write};

use sandbox_core::{FileInfo, FilePath, metrics};

use crate::transfer::local_file::write_with_holes;
use crate::transfer::tree::local_dir::Temporary;

/// Content of at most this many bytes is written without a search for holes.
const SMALL: usize = 64 << 10;

/// A file under a temporary name, which is removed when it is dropped.
pub(super) struct IncomingFile {
    pub(super) temporary: Temporary,
    pub(super) name: FilePath,
    pub(super) info: FileInfo,
    /// What was written, in bytes.
    pub(super) size: u64,
    pub(super) measured: metrics::Operation,
}

impl IncomingFile {
    pub(super) fn new(
        temporary: Temporary,
        name: FilePath,
        info: FileInfo,
        measured: metrics::Operation,
    ) -> Self {
        Self {
            temporary,
            name,
            info,
            size: 0,
            measured,
        }
    }

    /// Writes the next part of the content. Blocks.
    pub(super) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let mut to = self.temporary.file();
        if content.len() <= SMALL {
            to.write_all(content)?;
        } else {
            write_with_holes(to, content)?;
        }
        self.size += content.len() as u64;
        Ok(())
    }
}
