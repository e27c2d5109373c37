//! Measures the memory of this process that connections and commands take; the server runs in
//! another process. Not run with the tests, because it takes minutes. docs/BENCHMARKS.md has the
//! command and the results.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "nothing depends on it"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{Access, Endpoint, ExecRequest, KeyPair, PrivateKey};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};
use sandbox_sshd::{Server, ServerConfig};
use support::contract::resident;

/// The directory of the server's keys; set only for the server's process.
const SERVE: &str = "SANDBOX_MEASURE_SERVE";

/// The server, in a process of its own. It ends when dropped.
struct Apart {
    child: Child,
    keys: support::daemon::Keys,
    endpoint: Endpoint,
    _directory: tempfile::TempDir,
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Apart {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let keys = support::daemon::Keys {
            host: KeyPair::generate().unwrap(),
            user: KeyPair::generate().unwrap(),
        };
        support::daemon::write_private(&directory.path().join("host"), keys.host.private.expose());
        std::fs::write(directory.path().join("user"), keys.user.public.as_str()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "the_server_itself"])
            .env(SERVE, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let address = directory.path().join("address");
        let begun = Instant::now();
        while !address.exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the server does not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        let endpoint = Endpoint::Tcp(std::fs::read_to_string(&address).unwrap().parse().unwrap());
        Self {
            child,
            keys,
            endpoint,
            _directory: directory,
        }
    }

    /// One more sandbox, from a client's point of view.
    fn sandbox(&self) -> Arc<Access> {
        support::access(
            self.keys.host.public.clone(),
            self.keys.user.private.clone(),
            self.endpoint.clone(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is the server of the others"]
async fn the_server_itself() {
    let Some(directory) = std::env::var_os(SERVE).map(PathBuf::from) else {
        return;
    };
    more_files();
    let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
    let home = directory.join("home");
    let config = ServerConfig::new(
        PrivateKey::from_openssh(read("host")).unwrap(),
        vec![read("user")],
        &home,
    )
    .with_max_pending_logins(4096)
    .with_env([("PATH".into(), std::env::var_os("PATH").unwrap_or_default())]);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    write_whole(&directory.join("address"), &address);
    Server::new(config)
        .unwrap()
        .serve_tcp(listener, std::future::pending())
        .await;
}

/// Writes a file that appears with all of its content.
fn write_whole(path: &Path, text: &str) {
    let temporary = path.with_extension("new");
    std::fs::write(&temporary, text).unwrap();
    std::fs::rename(temporary, path).unwrap();
}

/// Raises the limit of open files to its maximum.
fn more_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn idle_connections() {
    more_files();
    let apart = Apart::start();
    let mut options = SshOptions::default();
    options.idle_timeout = Duration::from_secs(3600);
    let sessions = SshSessions::new(Arc::new(TcpConnector), options);
    let mut held = vec![support::session(&sessions, &apart.sandbox()).await];
    let mut before = None;
    for count in [1, 100, 500, 1000] {
        while held.len() < count {
            let batch = (held.len()..count.min(held.len() + 20)).map(|_| {
                let (sessions, access) = (sessions.clone(), apart.sandbox());
                async move { support::session(&sessions, &access).await }
            });
            held.extend(futures_util::future::join_all(batch).await);
        }
        let connected = resident();
        for session in &held {
            session
                .output(ExecRequest::from_argv(["true"]), 1000)
                .await
                .unwrap()
                .check()
                .unwrap();
        }
        let used = resident();
        let slope = before.map_or(String::new(), |(earlier, bytes)| {
            format!(
                ", {} KiB for each since",
                (used - bytes) / (count - earlier) as u64 / 1024
            )
        });
        eprintln!(
            "{count} connections: {} KiB resident, {} KiB when each had run a command{slope}",
            connected >> 10,
            used >> 10
        );
        before = Some((count, used));
    }
    let connections: usize = sessions
        .status()
        .iter()
        .map(|status| status.commands.connections)
        .sum();
    assert_eq!(connections, 1000);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn many_commands() {
    let apart = Apart::start();
    let sessions = SshSessions::new(Arc::new(TcpConnector), SshOptions::default());
    let session = support::session(&sessions, &apart.sandbox()).await;
    let begun = Instant::now();
    for part in 0..=10 {
        eprintln!(
            "{} commands: {} KiB resident, {:.0} s, {:?}",
            part * 10_000,
            resident() >> 10,
            begun.elapsed().as_secs_f64(),
            sessions.status()[0].commands
        );
        if part == 10 {
            return;
        }
        let callers = (0..8).map(|_| async {
            for _ in 0..10_000 / 8 {
                session
                    .output(ExecRequest::from_argv(["true"]), 1000)
                    .await
                    .unwrap()
                    .check()
                    .unwrap();
            }
        });
        futures_util::future::join_all(callers).await;
    }
}
