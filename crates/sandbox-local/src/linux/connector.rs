//! Connects to a sandbox's socket.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use rustix::fs::{Mode, OFlags};
use sandbox_core::{ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, Result};
use tokio::net::UnixStream;

/// Opens streams to Unix sockets, with paths of any length.
#[derive(Debug, Clone, Copy, Default)]
pub struct UnixConnector;

impl UnixConnector {
    /// Creates a connector. It has no state.
    pub const fn new() -> Self {
        Self
    }
}

/// The length of `sun_path` in unix(7), without the zero byte at its end.
const MAX_ADDRESS: usize = 107;

#[async_trait]
impl Connector for UnixConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        let Endpoint::Unix(path) = endpoint else {
            return Err(Error::unsupported(
                format!("the endpoint {endpoint:?}"),
                "the local backend",
                "use the connector of the backend that created the sandbox",
            ));
        };
        deadline
            .bound(
                "connecting to the sandbox's socket",
                connect_with_retry(path),
            )
            .await
    }
}

async fn connect_with_retry(path: &Path) -> Result<Box<dyn ByteStream>> {
    loop {
        match connect(path).await {
            Ok(stream) => return Ok(Box::new(stream)),
            // The socket's backlog is full; the server drains it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(2)).await
            }
            Err(error) => {
                let message = match error.kind() {
                    ErrorKind::NotFound => {
                        "its socket does not exist: it was deleted, or it has reached the end of its lifetime"
                            .to_owned()
                    }
                    ErrorKind::ConnectionRefused => "its server has ended".to_owned(),
                    _ => format!("cannot open its socket {}: {error}", path.display()),
                };
                return Err(Error::connection(
                    ConnectionStage::Dial,
                    message,
                    Some(Box::new(error)),
                ));
            }
        }
    }
}

/// Connects through a descriptor of the directory if the path is longer than an address can be.
async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= MAX_ADDRESS {
        return UnixStream::connect(path).await;
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "the path has no file name",
        ));
    };
    let parent = File::from(rustix::fs::open(
        parent,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?);
    let directory: PathBuf = format!("/proc/self/fd/{}", parent.as_raw_fd()).into();
    UnixStream::connect(directory.join(name)).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    async fn greet(path: &Path) -> Result<String> {
        let mut stream = UnixConnector
            .connect(
                &Endpoint::Unix(path.into()),
                Deadline::from_now(Duration::from_secs(10)),
            )
            .await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        Ok(text)
    }

    #[tokio::test]
    async fn a_path_longer_than_an_address_is_connected() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("x".repeat(100)).join("y".repeat(100));
        std::fs::create_dir_all(&long).unwrap();
        let short = dir.path().join("socket");
        let listener = UnixListener::bind(&short).unwrap();
        std::fs::hard_link(&short, long.join("socket")).unwrap();
        tokio::spawn(async move {
            loop {
                listener
                    .accept()
                    .await
                    .unwrap()
                    .0
                    .write_all(b"hello")
                    .await
                    .unwrap();
            }
        });
        assert_eq!(greet(&short).await.unwrap(), "hello");
        assert_eq!(greet(&long.join("socket")).await.unwrap(), "hello");
    }

    #[tokio::test]
    async fn a_missing_socket_and_another_kind_of_endpoint_are_different_errors() {
        let error = greet(Path::new("/nonexistent/socket")).await.unwrap_err();
        assert!(error.to_string().contains("deleted"), "{error}");
        let other_kind = Endpoint::Memory("m".into());
        let error = UnixConnector
            .connect(&other_kind, Deadline::from_now(Duration::from_secs(1)))
            .await
            .err()
            .unwrap();
        assert!(matches!(error, Error::Unsupported { .. }));
    }
}
