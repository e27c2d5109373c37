//! Commands and terminals.

use std::io::Write;
use std::process::Stdio;

use sandbox_testkit::peers::OPENSSH;

use super::LONG;
use crate::support::{Process, processes_with, text, wait_until};

#[test]
fn output_and_exit_codes_arrive_unchanged() {
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
fn late_output_arrives_and_what_may_be_lost_is_said() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let out = server.ssh("(sleep 0.3; echo late) & echo begun");
    assert_eq!(
        (&*text(&out.stdout), out.stderr.len()),
        ("begun\nlate\n", 0)
    );
    let out = server.ssh("sleep 1234507 & echo $!");
    assert_eq!(out.status.code(), Some(0));
    assert!(
        text(&out.stderr).starts_with("sandbox-sshd: a process"),
        "{out:?}"
    );
    let out = server.ssh(&format!("kill {}", text(&out.stdout)));
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
}

#[test]
fn a_login_changes_to_a_directory() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let out = server.ssh("cd /tmp; exec $SHELL -c pwd");
    assert_eq!(text(&out.stdout), "/tmp\n", "{out:?}");
}

#[test]
fn a_client_sets_variables_but_does_not_see_those_of_the_server() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    let mut ssh = server.client("ssh");
    ssh.env("GREETING", "hello world")
        .env("SANDBOX_SSHD_X", "reserved");
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
fn the_interrupt_key_of_a_terminal_works() {
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
    // The arguments of the shell contain the text, too.
    assert!(wait_until(LONG, || processes_with("sleep 1234301").len() == 2));
    stdin.write_all(b"\x03").unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(out.status.code(), Some(3), "{out:?}");
    assert!(text(&out.stdout).contains("was interrupted"), "{out:?}");
    drop(stdin);
}

#[test]
fn a_killed_client_leaves_no_process_behind() {
    require!(OPENSSH);
    let server = Process::start(&[]);
    // The first ends on SIGHUP, the second ignores it, the third has a child that ignores it.
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
            wait_until(LONG, || !processes_with(&format!("sleep {number}"))
                .is_empty()),
            "{number} did not start"
        );
    }
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    assert!(
        wait_until(LONG, || processes_with("sleep 12345").is_empty()),
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
        "the process outlived the server"
    );
}
