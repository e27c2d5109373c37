//! Loads the settings from the environment and from a file.

use std::path::Path;

use sandbox_core::Result;

use crate::dotenv;
use crate::resolve::{Entry, resolve};
use crate::settings::Settings;
use crate::variables::PREFIX;

impl Settings {
    /// Reads the settings from the environment of this process.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every invalid value.
    pub fn from_env() -> Result<Self> {
        resolve(environment())
    }

    /// Reads the settings from this file and from the environment of this process, which overrides
    /// the file: a variable that is set there, even to an empty value, is not read from the file.
    /// The environment is not changed. Lines that set other programs' variables are skipped.
    ///
    /// # Errors
    ///
    /// [`Config`](sandbox_core::Error::Config) naming every invalid value, every line that cannot
    /// be parsed and every variable that a file may not set; also if the file cannot be read or is
    /// larger than 1 MiB.
    pub fn from_dotenv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let content = dotenv::read(path)?;
        resolve(dotenv::entries(&path.to_string_lossy(), &content).chain(environment()))
    }
}

/// Returns the environment variables with the prefix of the settings.
fn environment() -> impl Iterator<Item = Entry> {
    std::env::vars_os()
        .filter(|(name, _)| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        .map(|(name, value)| Entry::Environment {
            name: name.to_string_lossy().into_owned(),
            value,
        })
}
