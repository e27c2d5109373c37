//! OpenSSH's own clients, unmodified, against the built binary.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox_testkit::peers::{OPENSSH, RSYNC};
use support::{Process, eventually, noise, processes_with, text};

const LONG: Duration = Duration::from_secs(20);

macro_rules! require {
    ($($peer:expr),+) => {
        $(if !$peer.is_available() { return; })+
    };
}

#[test]
fn output_and_exit_codes_arrive_as_they_are() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let out = server.ssh("printf out; printf err >&2; exit 7");
    assert_eq!(
        (out.status.code(), &*out.stdout, &*out.stderr),
        (Some(7), &b"out"[..], &b"err"[..])
    );
    assert_eq!(server.ssh("true").status.code(), Some(0));

    let out = server.ssh("exec 'printf' '%s|' 'a b' 'it'\\''s' '$HOME' '-n'");
    assert_eq!(text(&out.stdout), "a b|it's|$HOME|-n|");
    let out = server.ssh("exec 'no-such-program'");
    assert_eq!(
        (out.status.code(), &*text(&out.stderr)),
        (
            Some(127),
            "sandbox-sshd: no-such-program: command not found\n"
        )
    );
    assert_eq!(server.ssh("exec '/etc/passwd'").status.code(), Some(126));
    let out = server.ssh("cd -- '/no/where' && exec 'true'");
    assert_eq!(out.status.code(), Some(126));
    assert!(text(&out.stderr).contains("/no/where"), "{out:?}");
}

#[test]
fn the_environment_is_ours_to_choose_but_not_to_see() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let mut ssh = server.client("ssh");
    ssh.env("GREETING", "hello world")
        .env("SANDBOX_SSHD_X", "mine");
    ssh.args([
        "-o",
        "SendEnv=GREETING SANDBOX_SSHD_X",
        "me@127.0.0.1",
        "env; pwd",
    ]);
    let out = ssh.output().unwrap();
    let out = text(&out.stdout);
    let home = server.home().canonicalize().unwrap();
    assert!(out.contains("GREETING=hello world\n"), "{out}");
    assert!(!out.contains("SANDBOX_"), "{out}");
    assert!(
        out.contains(&format!("HOME={}\n", server.home().display())),
        "{out}"
    );
    assert!(out.ends_with(&format!("{}\n", home.display())), "{out}");
}

#[test]
fn bulk_passes_both_ways_byte_for_byte() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let data = noise(256 << 20, 1);
    let source = server.directory.path().join("source");
    std::fs::write(&source, &data).unwrap();

    // Both at once, each through a pipe of its own.
    std::thread::scope(|scope| {
        let upload = scope.spawn(|| {
            let mut ssh = server.client("ssh");
            ssh.args(["me@127.0.0.1", "cat > up"])
                .stdin(std::fs::File::open(&source).unwrap());
            assert!(ssh.status().unwrap().success());
        });
        let mut ssh = server.client("ssh");
        ssh.args(["me@127.0.0.1", "exec 'cat' '../source'"])
            .stdout(Stdio::piped());
        let mut child = ssh.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (mut buffer, mut at) = (vec![0; 1 << 20], 0);
        loop {
            let read = stdout.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            assert!(
                data[at..at + read] == buffer[..read],
                "wrong bytes after {at}"
            );
            at += read;
        }
        assert_eq!(at, data.len());
        assert!(child.wait().unwrap().success());
        upload.join().unwrap();
    });
    assert!(std::fs::read(server.home().join("up")).unwrap() == data);
    std::fs::remove_file(server.home().join("up")).unwrap();

    // scp goes by SFTP.
    let status = server
        .client("scp")
        .arg("-q")
        .arg(&source)
        .arg("me@127.0.0.1:copy")
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(server.home().join("copy")).unwrap() == data);
    std::fs::remove_file(&source).unwrap();
    let status = server
        .client("scp")
        .args(["-q", "me@127.0.0.1:copy"])
        .arg(&source)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(std::fs::read(&source).unwrap() == data);
}

#[test]
fn a_login_is_a_shell_in_a_terminal() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let mut ssh = server.client("ssh");
    ssh.env("TERM", "vt220").args(["-tt", "me@127.0.0.1"]);
    let mut child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(b"tty; echo \"$TERM $0\"; exit 5\n")
        .unwrap();
    let out = child.wait_with_output().unwrap();
    let shown = text(&out.stdout);
    assert_eq!(out.status.code(), Some(5), "{shown}");
    assert!(
        shown.contains("/dev/pts/") && shown.contains("vt220 -"),
        "{shown}"
    );
    drop(stdin);
}

#[test]
fn a_key_of_a_terminal_interrupts() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let mut ssh = server.client("ssh");
    ssh.args([
        "-tt",
        "me@127.0.0.1",
        "trap 'echo was interrupted; exit 3' INT; sleep 1234301",
    ]);
    let mut child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The shell has the text in its arguments, too.
    assert!(eventually(LONG, || processes_with("sleep 1234301").len() == 2));
    stdin.write_all(b"\x03").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert!(text(&out.stdout).contains("was interrupted"), "{out:?}");
    drop(stdin);
}

#[test]
fn twenty_sessions_at_once() {
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
fn a_killed_client_leaves_no_process_behind() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    // One obeys a hang-up, one ignores it, one has a child that ignores it.
    let commands = [
        "exec 'sleep' '1234501'",
        "trap '' HUP TERM; sleep 1234502",
        "trap '' HUP; (sleep 1234503; :) & wait",
    ];
    let mut clients: Vec<_> = commands
        .map(|line| {
            server
                .client("ssh")
                .args(["me@127.0.0.1", line])
                .stdin(Stdio::null())
                .spawn()
                .unwrap()
        })
        .into();
    for number in ["1234501", "1234502", "1234503"] {
        assert!(
            eventually(LONG, || !processes_with(&format!("sleep {number}"))
                .is_empty()),
            "{number} never ran"
        );
    }
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    assert!(
        eventually(LONG, || processes_with("sleep 12345").is_empty()),
        "{:?}",
        processes_with("sleep 12345")
    );
}

#[test]
fn a_background_process_neither_hangs_the_session_nor_dies_with_it() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let out = server.ssh("sleep 1234601 & echo started");
    assert_eq!(
        (out.status.code(), &*text(&out.stdout)),
        (Some(0), "started\n")
    );
    assert_eq!(processes_with("sleep 1234601").len(), 1);
    drop(server);
    assert!(
        processes_with("sleep 1234601").is_empty(),
        "the end of the server is the end of all"
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
fn a_port_is_forwarded_by_the_name_of_localhost() {
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

#[test]
fn sftp_does_what_people_type() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    std::fs::write(server.directory.path().join("local file"), "content").unwrap();
    let batch = "mkdir d\nput 'local file' 'd/a b'\nrename 'd/a b' d/c\nchmod 640 d/c\nsymlink c d/link\n\
                 ls -la d\nget d/link back\nmkdir -p\nrm d/c\nrm d/link\nrmdir d\ndf\npwd\n-rm none\n-put 'local file' /none/x\n";
    let mut sftp = server.client("sftp");
    sftp.args(["-q", "-b", "-", "me@127.0.0.1"])
        .current_dir(server.directory.path());
    let mut child = sftp
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(batch.replace("mkdir -p\n", "").as_bytes())
        .unwrap();
    let out = child.wait_with_output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let (shown, errors) = (text(&out.stdout), text(&out.stderr));
    assert!(
        shown.contains("-rw-r-----") && shown.contains("lrwxrwxrwx"),
        "{shown}"
    );
    assert!(
        shown.contains(&format!(
            "working directory: {}",
            server.home().canonicalize().unwrap().display()
        )),
        "{shown}"
    );
    assert!(errors.contains("No such file"), "{errors}");
    assert_eq!(
        std::fs::read_to_string(server.directory.path().join("back")).unwrap(),
        "content"
    );
    assert_eq!(std::fs::read_dir(server.home()).unwrap().count(), 0);
}

#[test]
fn rsync_brings_a_tree_and_takes_it_back() {
    require!(OPENSSH, RSYNC);
    let server = Process::start(&[]);
    let tree = server.directory.path().join("tree");
    std::fs::create_dir_all(tree.join("a/b c")).unwrap();
    std::fs::write(tree.join("a/b c/data"), noise(3 << 20, 5)).unwrap();
    std::fs::write(tree.join("a/it's \"quoted\""), "x").unwrap();
    std::os::unix::fs::symlink("b c/data", tree.join("a/link")).unwrap();
    let remote = format!("ssh -p {} {}", server.port, server.options().join(" "));
    let rsync = |from: &str, to: &str| {
        let mut rsync = Command::new("rsync");
        assert!(
            rsync
                .args(["-a", "-e", &remote, from, to])
                .status()
                .unwrap()
                .success()
        );
    };
    rsync(&format!("{}/", tree.display()), "me@127.0.0.1:copy/");
    let back = server.directory.path().join("back");
    rsync("me@127.0.0.1:copy/", &format!("{}/", back.display()));
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(&tree)
        .arg(&back)
        .status()
        .unwrap();
    assert!(same.success());
}
