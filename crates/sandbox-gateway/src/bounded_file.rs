//! Reads files that an operator has written, as long as they are no longer than expected.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads a file of at most `max` bytes.
pub(crate) fn read_text(path: &Path, max: u64) -> io::Result<String> {
    let mut content = String::new();
    File::open(path)?
        .take(max + 1)
        .read_to_string(&mut content)?;
    if content.len() as u64 > max {
        let message = format!("it is larger than {} MiB", max >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(content)
}
