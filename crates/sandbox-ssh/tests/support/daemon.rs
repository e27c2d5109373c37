//! An SSH server of another project on loopback, in its own PID and mount namespaces: killing it
//! kills all of its processes, and its user database gives the user a temporary home.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Access, Endpoint, KeyPair, Session};
use sandbox_ssh::{SshOptions, SshSessions, TcpConnector};

/// A running server. It ends when dropped.
pub(crate) struct Daemon {
    child: Child,
    pub(crate) access: Arc<Access>,
    pub(crate) home: PathBuf,
    pub(crate) directory: tempfile::TempDir,
}

/// The port and the directories of a server.
pub(crate) struct Place<'a> {
    pub(crate) port: u16,
    pub(crate) directory: &'a Path,
    pub(crate) home: &'a Path,
}

impl Daemon {
    /// Starts a server: `prepare` writes its files and gives its command line.
    pub(crate) fn start(keys: &Keys, prepare: impl Fn(&Place<'_>) -> Vec<String>) -> Self {
        for _ in 0..5 {
            let directory = tempfile::Builder::new()
                .prefix("sandbox-ssh-")
                .tempdir()
                .unwrap();
            let home = directory.path().join("home");
            std::fs::create_dir_all(home.join(".ssh")).unwrap();
            std::fs::write(home.join(".ssh/authorized_keys"), keys.user.public.as_str()).unwrap();
            std::fs::write(directory.path().join("passwd"), passwd(&home)).unwrap();
            let port = free_port();
            let argv = prepare(&Place {
                port,
                directory: directory.path(),
                home: &home,
            });
            let mut child = spawn(directory.path(), &argv);
            let endpoint = Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            if is_up(&mut child, port) {
                let access = super::access(
                    keys.host.public.clone(),
                    keys.user.private.clone(),
                    endpoint,
                );
                return Self {
                    child,
                    access,
                    home,
                    directory,
                };
            }
        }
        panic!("the server does not start");
    }

    pub(crate) fn sessions(&self) -> SshSessions {
        SshSessions::new(Arc::new(TcpConnector), SshOptions::default())
    }

    pub(crate) async fn session(&self) -> Arc<dyn Session> {
        super::session(&self.sessions(), &self.access).await
    }

    /// Kills the server with all it started.
    pub(crate) fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The keys of a server and of its user.
pub(crate) struct Keys {
    pub(crate) host: KeyPair,
    pub(crate) user: KeyPair,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            host: KeyPair::generate().unwrap(),
            user: KeyPair::generate().unwrap(),
        }
    }
}

/// Whether such a server can be started here; if not, a message is printed.
pub(crate) fn is_possible(peer: sandbox_testkit::peers::Peer) -> bool {
    peer.is_available()
        && (nix::unistd::getuid().is_root() || peer.skip("needs root, for a mount namespace"))
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn spawn(directory: &Path, argv: &[String]) -> Child {
    let script = "mount --bind \"$1/passwd\" /etc/passwd && mount -t proc proc /proc && \
                  mount -t tmpfs tmpfs /run && mkdir /run/sshd && shift && exec \"$@\"";
    let log = std::fs::File::create(directory.join("log")).unwrap();
    Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "--pid",
            "--fork",
            "--kill-child=KILL",
        ])
        .args(["sh", "-c", script, "sh"])
        .arg(directory)
        .args(argv)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn is_up(child: &mut Child, port: u16) -> bool {
    for _ in 0..500 {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// The user database, with another home and a plain shell for the current user and for `nobody`.
fn passwd(home: &Path) -> String {
    let me = super::user();
    let lines = std::fs::read_to_string("/etc/passwd").unwrap();
    let changed = lines.lines().map(|line| {
        let mut fields: Vec<_> = line.split(':').collect();
        if fields[0] == me || fields[0] == "nobody" {
            (fields[5], fields[6]) = (home.to_str().unwrap(), "/bin/sh");
        }
        fields.join(":")
    });
    changed.collect::<Vec<_>>().join("\n") + "\n"
}
