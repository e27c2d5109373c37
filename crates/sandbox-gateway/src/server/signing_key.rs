//! The key that tokens and URLs are signed with.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};

use crate::config::GatewayConfig;
use crate::error::GatewayError;
use crate::sandboxes::tokens::MIN_SIGNING_KEY;

/// Reads the signing key. If the settings name no file, one is created beside that of the keys.
pub(super) fn load(config: &GatewayConfig) -> Result<Vec<u8>, GatewayError> {
    match &config.signing_key_file {
        Some(path) => read(path),
        None => {
            let path = beside(&config.keys_file);
            match read(&path) {
                Err(GatewayError::File { source, .. })
                    if source.kind() == io::ErrorKind::NotFound =>
                {
                    create(&path)?;
                    read(&path)
                }
                result => result,
            }
        }
    }
}

fn beside(keys_file: &Path) -> PathBuf {
    keys_file.with_file_name("signing.key")
}

fn read(path: &Path) -> Result<Vec<u8>, GatewayError> {
    let key = fs::read(path).map_err(|source| GatewayError::File {
        action: "read the signing key in",
        path: path.to_owned(),
        source,
    })?;
    if key.len() < MIN_SIGNING_KEY {
        return Err(GatewayError::Config(vec![format!(
            "the signing key in {} has {} bytes; it needs at least {MIN_SIGNING_KEY} random ones",
            path.display(),
            key.len()
        )]));
    }
    Ok(key)
}

/// Creates a random key that only this user can read. The file appears with its content, so that a replica which starts
/// at the same moment never reads half a key; the first one wins.
fn create(path: &Path) -> Result<(), GatewayError> {
    let mut key = [0; MIN_SIGNING_KEY];
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_unspecified| GatewayError::Randomness)?;
    let temporary = path.with_file_name(format!(".signing.key.{}", std::process::id()));
    let written =
        write_private(&temporary, &key).and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    let removed = fs::remove_file(&temporary);
    written.and(removed).map_err(|source| GatewayError::File {
        action: "create the signing key",
        path: path.to_owned(),
        source,
    })
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys_file: PathBuf) -> GatewayConfig {
        GatewayConfig::new("127.0.0.1:0".parse().unwrap(), keys_file)
    }

    #[test]
    fn a_missing_key_is_created_once_and_for_this_user_only() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path().join("keys"));
        let first = load(&config).unwrap();
        assert_eq!(first.len(), MIN_SIGNING_KEY);
        assert_eq!(load(&config).unwrap(), first);
        let names: Vec<_> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["signing.key"]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(dir.path().join("signing.key"))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn a_named_key_must_exist_and_be_long_enough() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path().join("keys"));
        let path = dir.path().join("named");
        config.signing_key_file = Some(path.clone());
        assert!(matches!(load(&config), Err(GatewayError::File { .. })));
        fs::write(&path, [7; MIN_SIGNING_KEY - 1]).unwrap();
        let message = load(&config).unwrap_err().to_string();
        assert!(message.contains("has 31 bytes"), "{message}");
        fs::write(&path, [7; MIN_SIGNING_KEY]).unwrap();
        assert_eq!(load(&config).unwrap(), [7; MIN_SIGNING_KEY]);
    }
}
