//! A file with a bearer token, which is replaced while the program runs (`tokenFile`, service accounts).

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Instant;

use http::HeaderValue;

use super::header::bearer_header;
use super::issued::RELOAD_INTERVAL;
use crate::api::cluster::errors::CredentialError;
use crate::lock::lock;

/// The token of a file. It is read again every minute, and when the API server does not accept it.
pub(super) struct TokenFile {
    path: PathBuf,
    cached: Mutex<CachedToken>,
}

struct CachedToken {
    header: HeaderValue,
    read_at: Instant,
}

impl TokenFile {
    /// Reads the file. `fallback` is used if that fails.
    ///
    /// # Errors
    ///
    /// If there is no fallback and the file cannot be read, or is empty.
    pub(super) fn read(path: PathBuf, fallback: Option<String>) -> Result<Self, CredentialError> {
        let header = match (read_header(&path), fallback) {
            (Err(_unreadable), Some(token)) => bearer_header(&token)?,
            (header, _) => header?,
        };
        let cached = Mutex::new(CachedToken {
            header,
            read_at: Instant::now(),
        });
        Ok(Self { path, cached })
    }

    /// Returns the header with the token.
    pub(super) fn current(&self) -> Result<HeaderValue, CredentialError> {
        if lock(&self.cached).read_at.elapsed() >= RELOAD_INTERVAL {
            self.reload();
        }
        Ok(lock(&self.cached).header.clone())
    }

    /// Reads the file now. If that fails, the last token is kept, because some programs remove the file
    /// after the start (<https://github.com/kubernetes/kubernetes/issues/68164>).
    pub(super) fn reload(&self) {
        // Set first, so that other requests use the last token meanwhile.
        lock(&self.cached).read_at = Instant::now();
        match read_header(&self.path) {
            Ok(header) => lock(&self.cached).header = header,
            Err(error) => tracing::debug!(%error, "token file not read; keeping the last token"),
        }
    }
}

fn read_header(path: &PathBuf) -> Result<HeaderValue, CredentialError> {
    let shown = path.display();
    let token = fs::read_to_string(path).map_err(|error| {
        CredentialError::new(format!(
            "cannot read the token file {shown} of the kubeconfig: {error}"
        ))
    })?;
    if token.trim().is_empty() {
        return Err(CredentialError::new(format!(
            "the token file {shown} of the kubeconfig is empty; log in again"
        )));
    }
    bearer_header(&token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn expire(file: &TokenFile) {
        lock(&file.cached).read_at = Instant::now().checked_sub(Duration::from_secs(61)).unwrap();
    }

    #[test]
    fn white_space_around_a_token_is_not_sent() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for text in ["abc", "abc\n", "abc\r\n", " \tabc\n\n"] {
            fs::write(file.path(), text).unwrap();
            let read = TokenFile::read(file.path().to_owned(), None).unwrap();
            assert_eq!(read.current().unwrap(), "Bearer abc", "{text:?}");
        }
    }

    #[test]
    fn a_token_is_replaced_and_the_last_one_kept() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "one\n").unwrap();
        let token = TokenFile::read(file.path().to_owned(), None).unwrap();
        fs::write(file.path(), "two\n").unwrap();
        assert_eq!(token.current().unwrap(), "Bearer one");
        expire(&token);
        assert_eq!(token.current().unwrap(), "Bearer two");
        fs::write(file.path(), "three\n").unwrap();
        token.reload();
        assert_eq!(token.current().unwrap(), "Bearer three");
        for unusable in ["", "\n"] {
            fs::write(file.path(), unusable).unwrap();
            expire(&token);
            assert_eq!(token.current().unwrap(), "Bearer three", "{unusable:?}");
        }
        fs::remove_file(file.path()).unwrap();
        expire(&token);
        assert_eq!(token.current().unwrap(), "Bearer three");
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let error = |path: &PathBuf| {
            TokenFile::read(path.clone(), None)
                .err()
                .unwrap()
                .to_string()
        };
        assert!(error(&path).contains(path.to_str().unwrap()));
        fs::write(&path, " \n").unwrap();
        assert!(error(&path).contains("is empty"));
        let fallback = TokenFile::read(path, Some("inline".into())).unwrap();
        assert_eq!(fallback.current().unwrap(), "Bearer inline");
    }
}
