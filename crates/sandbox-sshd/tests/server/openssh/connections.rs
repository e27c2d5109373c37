//! Logins, many connections, and forwarded ports.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox_core::KeyPair;
use sandbox_core::protocol::{self, ClaimRefusal};
use sandbox_testkit::peers::OPENSSH;

use crate::support::{self, Process, text};

#[test]
fn twenty_connections_run_at_once() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    std::thread::scope(|scope| {
        for n in 0..20 {
            let server = &server;
            scope.spawn(move || {
                let out = server.ssh(&format!("sleep 0.3; echo {n}; exit {n}"));
                assert_eq!(
                    (out.status.code(), &*text(&out.stdout)),
                    (Some(n), &*format!("{n}\n")),
                    "{out:?}"
                );
            });
        }
    });
}

#[test]
fn many_sessions_share_one_connection() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let control = server.directory.path().join("control");
    let control = format!("ControlPath={}", control.display());
    let ssh = || {
        let mut ssh = server.client("ssh");
        ssh.args(["-o", &control]).stdin(Stdio::null());
        ssh
    };
    assert!(
        ssh()
            .args(["-o", "ControlMaster=yes", "-fN", "me@127.0.0.1"])
            .status()
            .unwrap()
            .success()
    );
    std::thread::scope(|scope| {
        for n in 1..=12 {
            let ssh = &ssh;
            scope.spawn(move || {
                let out = ssh()
                    .args(["me@127.0.0.1", &format!("seq {n}000 | tail -1; sleep 0.2")])
                    .output()
                    .unwrap();
                assert_eq!(text(&out.stdout), format!("{n}000\n"), "{out:?}");
            });
        }
    });
    assert!(
        ssh()
            .args(["-O", "exit", "me@127.0.0.1"])
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_wrong_key_and_a_wrong_name_are_refused() {
    require!(OPENSSH);
    let server = Process::start(&["--user", "agent"]);
    let login = |key: &std::path::Path, name: &str| {
        let mut ssh = server.client("ssh");
        ssh.args([
            "-o",
            &format!("IdentityFile={}", key.display()),
            &format!("{name}@127.0.0.1"),
            "true",
        ]);
        ssh.output().unwrap()
    };
    let other = tempfile::tempdir().unwrap();
    support::write_keys(other.path());
    let right = server.directory.path().join("user");
    assert!(login(&right, "agent").status.success());
    let refused = login(&right, "root");
    assert_eq!(refused.status.code(), Some(255));
    assert!(
        text(&refused.stderr).contains("Permission denied (publickey)"),
        "{refused:?}"
    );

    let mut ssh = Command::new("ssh");
    let options = server.options().into_iter().map(|option| {
        option.replace(
            &right.display().to_string(),
            &other.path().join("user").display().to_string(),
        )
    });
    ssh.args(options)
        .args(["-p", &server.port.to_string(), "agent@127.0.0.1", "true"]);
    let refused = ssh.output().unwrap();
    assert!(
        text(&refused.stderr).contains("Permission denied (publickey)"),
        "{refused:?}"
    );
}

#[test]
fn a_port_is_forwarded_to_localhost() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut data = Vec::new();
        stream.read_to_end(&mut data).unwrap();
        data.reverse();
        stream.write_all(&data).unwrap();
    });
    let mut ssh = server.client("ssh");
    ssh.args(["-W", &format!("localhost:{port}"), "me@127.0.0.1"]);
    let mut child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"desserts").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(text(&out.stdout), "stressed");

    let mut ssh = server.client("ssh");
    let out = ssh
        .args(["-W", "no-such-host.invalid:80", "me@127.0.0.1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!out.status.success());
}

/// Through a socket of `ssh -L`.
#[test]
fn the_ends_of_a_forwarded_connection_reach_both_sides() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = server.directory.path().join("forwarded");
    let mut ssh = server.client("ssh");
    let forward = format!("{}:127.0.0.1:{port}", socket.display());
    ssh.args(["-N", "-L", &forward, "me@127.0.0.1"]);
    let mut ssh = ssh.stdin(Stdio::null()).spawn().unwrap();
    // The socket exists a moment before it listens.
    let connect = || {
        let mut stream = None;
        support::wait_until(Duration::from_secs(20), || {
            stream = UnixStream::connect(&socket).ok();
            stream.is_some()
        });
        let stream = stream.unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        (stream, listener.accept().unwrap().0)
    };

    // Each direction ends on its own.
    let (mut outside, mut inside) = connect();
    outside.write_all(b"question").unwrap();
    outside.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    inside.read_to_string(&mut text).unwrap();
    inside.write_all(b" and answer").unwrap();
    drop(inside);
    outside.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question and answer");

    // A writer learns that the other side has closed the connection.
    let (mut outside, mut inside) = connect();
    inside.write_all(b"bye").unwrap();
    drop(inside);
    text.clear();
    outside.read_to_string(&mut text).unwrap();
    assert_eq!(text, "bye");
    assert!(support::wait_until(Duration::from_secs(20), || {
        outside.write_all(b"is anybody there?").is_err()
    }));

    // A connection that is not read blocks no other.
    let (mut outside, _unread) = connect();
    outside.set_nonblocking(true).unwrap();
    let full = support::wait_until(Duration::from_secs(2), || {
        while outside.write(&[0; 65_536]).is_ok() {}
        false
    });
    assert!(!full);
    let (mut outside, mut inside) = connect();
    outside.write_all(b"ping").unwrap();
    let mut ping = [0; 4];
    inside.read_exact(&mut ping).unwrap();
    assert_eq!(&ping, b"ping");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

/// Claims with OpenSSH's own client, from a server that its environment makes claimable.
#[test]
fn a_claim_is_plain_ssh() {
    require!(OPENSSH);
    let directory = tempfile::tempdir().unwrap();
    let (host, _) = support::write_keys(directory.path());
    let path = |name: &str| directory.path().join(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-sshd"));
    command
        .env_remove("SANDBOX_TEST_REQUIRE")
        .env(protocol::POOL_VARIABLE, "builders/0123456789abcdef")
        .args(["--listen", "127.0.0.1:0", "--attached", "120", "--host-key"])
        .arg(path("host"))
        .arg("--authorized-keys")
        .arg(path("authorized"))
        .arg("--home")
        .arg(path("home"));
    let server = Process::run(command, directory, &host);
    let variables = server.ssh("env");
    assert!(
        !text(&variables.stdout).contains("builders"),
        "{variables:?}"
    );

    let claimer = KeyPair::generate().unwrap();
    let claim = || {
        let variable = format!("SetEnv={}=\"{}\"", protocol::CLAIM_KEY, claimer.public);
        let mut ssh = server.client("ssh");
        ssh.args([
            "-o",
            &variable,
            "-s",
            "me@127.0.0.1",
            protocol::CLAIM_SUBSYSTEM,
        ])
        .stdin(Stdio::null());
        ssh.output().unwrap()
    };
    let claimed = claim();
    assert_eq!(claimed.status.code(), Some(0), "{claimed:?}");
    let refused = server.ssh("id");
    assert_eq!(refused.status.code(), Some(255), "{refused:?}");
    assert!(
        text(&refused.stderr).contains("Permission denied"),
        "{refused:?}"
    );

    std::fs::write(
        server.directory.path().join("user"),
        claimer.private.expose(),
    )
    .unwrap();
    assert_eq!(text(&server.ssh("echo mine").stdout), "mine\n");
    let again = claim();
    let code = ClaimRefusal::AlreadyClaimed.exit_code();
    assert_eq!(again.status.code(), Some(code.into()), "{again:?}");
    assert!(text(&again.stderr).contains("claimed before"), "{again:?}");
}
