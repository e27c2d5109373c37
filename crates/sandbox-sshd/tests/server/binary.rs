//! The binary: its arguments, its errors, and its end.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sandbox_sshd::EndReason;
use sandbox_testkit::peers::OPENSSH;

use crate::support::{Process, processes_with, text, wait_until};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-sshd"));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn install_copies_the_whole_executable() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("a/b");
    for _ in 0..2 {
        let out = run(&["install", target.to_str().unwrap()]);
        assert!(out.status.success(), "{out:?}");
    }
    let copy = target.join("sandbox-sshd");
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(
        std::fs::read_dir(&target).unwrap().count(),
        1,
        "no partial file remains"
    );
    let version = Command::new(copy).arg("--version").output().unwrap();
    assert_eq!(
        text(&version.stdout),
        format!("sandbox-sshd {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn errors_are_one_line() {
    let directory = tempfile::tempdir().unwrap();
    crate::support::write_keys(directory.path());
    let path = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(path("junk"), "junk").unwrap();
    std::fs::write(path("empty"), "\n# no key\n").unwrap();
    let (host, user, junk, empty) = (
        path("host"),
        path("authorized"),
        path("junk"),
        path("empty"),
    );
    for (arguments, message) in [
        (vec![], "there is no host key"),
        (vec!["--host-key", &host], "no authorized keys"),
        (
            vec!["--host-key", "/none", "--authorized-keys", &user],
            "cannot read /none: No such file",
        ),
        (
            vec!["--host-key", &junk, "--authorized-keys", &user],
            "private key",
        ),
        (
            vec!["--host-key", &host, "--authorized-keys", &junk],
            "authorized key number 1",
        ),
        (
            vec!["--host-key", &host, "--authorized-keys", &empty],
            "no one could log in",
        ),
        (
            vec![
                "--host-key",
                &host,
                "--authorized-keys",
                &user,
                "--listen",
                "1.2.3.4:1",
            ],
            "cannot listen on 1.2.3.4:1",
        ),
        (
            vec![
                "--host-key",
                &host,
                "--authorized-keys",
                &user,
                "--home",
                "/proc/none",
            ],
            "/proc/none",
        ),
        (vec!["--frobnicate"], "unknown option --frobnicate"),
    ] {
        let out = run(&arguments);
        let stderr = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{arguments:?}");
        assert!(
            stderr.starts_with("sandbox-sshd: ") && stderr.contains(message),
            "{arguments:?}: {stderr}"
        );
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(
            !stderr.contains("b3BlbnNzaC1rZXk"),
            "a key is printed: {stderr}"
        );
    }
}

#[test]
fn stdio_serves_one_connection() {
    if !OPENSSH.is_available() {
        return;
    }
    let server = Process::start(&[]);
    let path = |name: &str| server.directory.path().join(name).display().to_string();
    let proxy = format!(
        "{} --stdio --host-key {} --authorized-keys {} --home {}",
        env!("CARGO_BIN_EXE_sandbox-sshd"),
        path("host"),
        path("authorized"),
        path("stdio-home"),
    );
    // The server's port is used only for the name in known_hosts.
    let mut ssh = server.client("ssh");
    ssh.args([
        "-o",
        &format!("ProxyCommand={proxy}"),
        "me@127.0.0.1",
        "pwd; cat",
    ]);
    let mut child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through").unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(
        text(&out.stdout).ends_with("stdio-home\nthrough"),
        "{out:?}"
    );
    assert!(out.status.success());
}

#[test]
fn orphans_are_reaped_and_daemons_end_with_the_server() {
    if !OPENSSH.is_available() {
        return;
    }
    let server = Process::start(&[]);
    // A daemon with its own session whose parent has ended, and short-lived orphans.
    let out = server.ssh("setsid -f sleep 1235001 >/dev/null 2>&1 </dev/null; for n in 1 2 3 4 5; do (sleep 0.1 &) ; done; echo ok");
    assert_eq!(text(&out.stdout), "ok\n", "{out:?}");
    assert_eq!(processes_with("sleep 1235001").len(), 1);
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", server.child.id());
        let mut all = String::new();
        std::fs::File::open(path)
            .and_then(|mut file| file.read_to_string(&mut all))
            .unwrap();
        all.split_ascii_whitespace().count()
    };
    assert!(
        wait_until(Duration::from_secs(20), || children() == 1),
        "{} children remain",
        children()
    );
    // The reaper does not take the exit statuses of commands.
    for code in [0, 3, 77] {
        assert_eq!(
            server
                .ssh(&format!("(sleep 0.01 &); exit {code}"))
                .status
                .code(),
            Some(code)
        );
    }
    drop(server);
    assert!(processes_with("sleep 1235001").is_empty());
}

#[test]
fn the_server_ends_at_each_limit_and_on_sigterm() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("termination-log");
    let end_of = |options: &[&str], signal: Option<Signal>| {
        std::fs::write(&log, "what a program in the sandbox wrote").unwrap();
        let options = [options, &["--termination-log", log.to_str().unwrap()]].concat();
        let mut server = Process::start(&options);
        if let Some(signal) = signal {
            kill(Pid::from_raw(server.child.id().cast_signed()), signal).unwrap();
        }
        let code = server.child.wait().unwrap().code().unwrap();
        (code, std::fs::read_to_string(&log).unwrap())
    };
    for (options, signal, code, reason) in [
        (&["--idle", "1"][..], None, 80, EndReason::Idle),
        (&["--attached", "1"], None, 81, EndReason::NotAttached),
        (&["--first-login", "1"], None, 82, EndReason::NeverUsed),
        (&["--ttl", "1"], None, 0, EndReason::Expired),
        (&["--max-lifetime", "1"], None, 0, EndReason::Expired),
        (&[], Some(Signal::SIGTERM), 143, EndReason::Terminated),
        (&[], Some(Signal::SIGINT), 130, EndReason::Terminated),
    ] {
        assert_eq!(
            end_of(options, signal),
            (code, reason.message().to_owned()),
            "{options:?} {signal:?}"
        );
    }
}

#[test]
fn a_server_without_a_termination_log_tells_its_end_by_the_exit_code() {
    let mut server = Process::start(&["--idle", "1", "--termination-log", "/none/termination-log"]);
    assert_eq!(server.child.wait().unwrap().code(), Some(80));
}
