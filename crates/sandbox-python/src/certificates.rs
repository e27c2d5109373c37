//! Files of certificates to trust.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sandbox::{Error, Result};

/// The largest file with certificates, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads the file of the option `ca`.
///
/// # Errors
///
/// [`Error::Invalid`] if it cannot be read.
pub(crate) fn read_certificates(path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let mut pem = Vec::new();
        File::open(path)?.take(MAX_FILE).read_to_end(&mut pem)?;
        std::io::Result::Ok(pem)
    };
    read().map_err(|error| {
        let shown = path.display().to_string();
        Error::invalid("ca", shown, format!("it cannot be read: {error}"))
    })
}
