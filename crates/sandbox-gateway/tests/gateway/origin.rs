//! An HTTPS origin of this machine, whose secret sandboxes use and never have.

use std::net::SocketAddr;
use std::path::Path;

use sandbox_testkit::https::{Heads, HttpsOrigin};

use crate::support::World;

pub(crate) const SECRET: &str = "sk-live-0123456789";

/// An HTTPS origin of this machine, which says hello. Its files are there as long as it is.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    /// The file of the certificate to trust.
    pub(crate) authority: String,
    /// The file of the secret.
    pub(crate) secret: String,
    heads: Heads,
    _directory: tempfile::TempDir,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let origin = HttpsOrigin::bind(&["127.0.0.1", "localhost"])
            .await
            .unwrap();
        let (address, authority) = (origin.address(), origin.authority());
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        Self {
            address,
            authority: write("ca.pem", &authority),
            secret: write("secret", &format!("{SECRET}\n")),
            heads: origin.answer_with_text("hello"),
            _directory: directory,
        }
    }

    /// How many requests there were. Each had the secret.
    pub(crate) fn count_requests(&self) -> usize {
        let with_secret = self.count_requests_with_secret();
        let all = self.heads.text().matches("GET /v1/chat ").count();
        assert_eq!(with_secret, all);
        with_secret
    }

    /// How many requests had the secret.
    pub(crate) fn count_requests_with_secret(&self) -> usize {
        let sent = format!("authorization: Bearer {SECRET}\r\n");
        self.heads.text().matches(&sent).count()
    }
}

/// What a command in the sandbox prints.
pub(crate) async fn run(world: &World, id: &str, command: &str) -> String {
    let client = world.client().await;
    let handle = client.connect(&id.parse().unwrap()).await.unwrap();
    let output = handle.shell(command).output().await.unwrap();
    output.stdout_lossy()
}

/// Whether any file below a directory has the secret in it.
pub(crate) fn has_secret(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_secret(&entry.path()),
        Ok(kind) if kind.is_file() => {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            String::from_utf8_lossy(&content).contains(SECRET)
        }
        Ok(_) | Err(_) => false,
    })
}
