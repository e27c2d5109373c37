//! `sandbox run`: exit codes, streams and arguments.

#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn the_exit_code_is_that_of_the_command() {
    let cli = Cli::new();
    cli.write("plain", "");
    for (args, expected) in [
        (&["true"][..], 0),
        (&["sh", "-c", "exit 3"], 3),
        (&["sh", "-c", "exit 255"], 255),
        (&["no-such-command-anywhere"], 127),
        (&["/etc"], 126),
        (&["sh", "-c", "kill -KILL $$"], 137),
        (&["sh", "-c", "kill -TERM $$"], 143),
        (&["sh", "-c", "kill -SEGV $$"], 139),
    ] {
        let output = cli.run(["run", "--"].iter().chain(args));
        assert_eq!(code(&output), expected, "{args:?}: {}", stderr(&output));
    }
    assert!(cli.list_ids().is_empty());
}

#[test]
fn stdout_and_stderr_are_separate_and_unchanged() {
    let cli = Cli::new();
    let output = cli.run([
        "run",
        "--",
        "sh",
        "-c",
        r"printf 'a\0\377\033[31mb'; printf 'c\001' >&2",
    ]);
    assert_eq!(
        (code(&output), &output.stdout[..], &output.stderr[..]),
        (0, &b"a\0\xff\x1b[31mb"[..], &b"c\x01"[..])
    );
}

/// The log and the output are written to stderr by different threads.
#[test]
fn logging_does_not_block_the_output() {
    let cli = Cli::new();
    let script = "for i in 1 2 3; do echo $i; echo $i >&2; sleep 0.2; done";
    let mut child = cli.spawn(["-vvv", "run", "--", "sh", "-c", script]);
    let mut log = child.stderr.take().unwrap();
    let log = std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if std::time::Instant::now() > until => break None,
            None => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    };
    if status.is_none() {
        child.kill().unwrap();
    }
    assert!(log.join().unwrap().unwrap() > 0);
    assert_eq!(status.and_then(|status| status.code()), Some(0));
}

#[test]
fn stdin_is_forwarded_to_its_end() {
    let cli = Cli::new();
    let input: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    let output = cli.run_with_input(["run", "--", "cat"], &input);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(output.stdout == input);
    let unread = cli.run_with_input(["run", "--", "true"], b"a little");
    assert_eq!(code(&unread), 0, "{}", stderr(&unread));
}

#[test]
fn arguments_arrive_unchanged() {
    let cli = Cli::new();
    let odd: Vec<&OsStr> = [
        &b"with space"[..],
        b"",
        b"'single' \"double\"",
        b"line\nbreak",
        b"-v",
        b"--help",
        b"--",
        b"$HOME `id` $(id) \\ * ? ~",
        b"not \xff\xfe utf-8",
        "Gr\u{fc}\u{df}e".as_bytes(),
    ]
    .map(OsStr::from_bytes)
    .to_vec();
    for before in [
        &["run", "--", "printf", "%s\\0"][..],
        &["run", "printf", "%s\\0"],
    ] {
        let args = before
            .iter()
            .map(OsString::from)
            .chain(odd.iter().map(|&arg| arg.to_owned()));
        let output = cli.run(args);
        let expected: Vec<u8> = odd
            .iter()
            .flat_map(|arg| [arg.as_bytes(), b"\0"].concat())
            .collect();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&expected)
        );
        assert!(output.stdout == expected);
    }
}

#[test]
fn environment_workdir_and_timeout_are_set() {
    let cli = Cli::new();
    let mut command = cli.command([
        "run",
        "-e",
        "A=x y=z",
        "-e",
        "PASSED",
        "-w",
        "/usr",
        "--",
        "sh",
        "-c",
        "echo $A $PASSED; pwd",
    ]);
    let output = command.env("PASSED", "on").output().unwrap();
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (0, "x y=z on\n/usr\n"),
        "{}",
        stderr(&output)
    );
    let absent = cli.run(["run", "-e", "SURELY_NOT_SET_HERE", "--", "true"]);
    assert!(
        code(&absent) == 125 && stderr(&absent).contains("SURELY_NOT_SET_HERE=VALUE"),
        "{}",
        stderr(&absent)
    );
    let late = cli.run(["run", "--timeout", "300ms", "--", "sleep", "1000"]);
    assert!(
        code(&late) == 124 && stderr(&late).contains("ran longer than 300ms"),
        "{}",
        stderr(&late)
    );
    let nowhere = cli.run(["run", "-w", "/nowhere", "--", "true"]);
    assert_ne!(code(&nowhere), 0);
    assert!(cli.list_ids().is_empty());
}

#[test]
fn no_stdin_leaves_the_input_unread() {
    let cli = Cli::new();
    let output = cli.run_with_input(["run", "-n", "--", "wc", "-c"], b"");
    assert_eq!(stdout(&output).trim(), "0", "{}", stderr(&output));
    let id = cli.create();
    let list = cli.write("list", "one\ntwo\nthree\n");
    let mut shell = std::process::Command::new("sh");
    shell.args([
        "-c",
        "while read name; do \"$0\" exec -n \"$1\" -- echo \"$name\"; done",
    ]);
    shell
        .arg(env!("CARGO_BIN_EXE_sandbox"))
        .arg(&id)
        .stdin(std::fs::File::open(list).unwrap());
    let output = shell
        .env("SANDBOX_STATE_DIR", cli.state_dir())
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "one\ntwo\nthree\n", "{}", stderr(&output));
}

#[test]
fn a_missing_image_option_gets_a_hint() {
    let cli = Cli::new();
    let output = cli.run(["run", "--rm", "alpine", "ls"]);
    assert_eq!(code(&output), 127);
    assert!(
        stderr(&output).contains("--image alpine"),
        "{}",
        stderr(&output)
    );
    let output = cli.run(["run", "-v", "/data:/data", "ls"]);
    assert!(
        stderr(&output).contains("-v is --verbose here"),
        "{}",
        stderr(&output)
    );
    let id = cli.create();
    let output = cli.run(["exec", &id, "python:3.12"]);
    assert!(!stderr(&output).contains("--image"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_ends_the_command_quietly() {
    let cli = Cli::new();
    let mut child = cli.spawn(["run", "--", "yes"]);
    let mut first = [0; 4];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (code(&output), stderr(&output).as_str(), &first),
        (141, "", b"y\ny\n")
    );
    assert!(cli.list_ids().is_empty());
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let cli = Cli::new();
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let child = cli
        .command(["run", "--", "echo", "lost"])
        .stdout(full)
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        code(&output) == 125 && stderr(&output).contains("cannot write"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn tty_allocates_a_terminal() {
    let cli = Cli::new();
    let inside = "test -t 0 && test -t 1 && test -t 2 && stty size && echo $TERM";
    let mut command = cli.command(["run", "-t", "--", "sh", "-c", inside]);
    let output = command
        .env("TERM", "vt100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(
        (code(&output), stdout(&output).as_str()),
        (0, "24 80\r\nvt100\r\n"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_end_of_stdin_reaches_a_command_in_a_terminal() {
    let cli = Cli::new();
    for input in ["one\ntwo\n", "one\ntwo"] {
        let output = cli.run_with_input(
            [
                "run",
                "-t",
                "--",
                "sh",
                "-c",
                "stty -echo; echo; cat; exit 4",
            ],
            input.as_bytes(),
        );
        assert_eq!(code(&output), 4, "{}", stderr(&output));
        assert!(
            stdout(&output).contains("one\r\ntwo"),
            "{}",
            stdout(&output)
        );
    }
}

#[test]
fn a_command_runs_as_the_user_or_not_at_all() {
    let cli = Cli::new();
    let own = cli.expect_ok(["run", "-q", "--", "id", "-u"]);
    let number = own.trim();
    assert_eq!(cli.expect_ok(["run", "-q", "-u", number, "id", "-u"]), own);
    let output = cli.run(["run", "-q", "--user", "no such user", "id"]);
    assert_eq!(code(&output), 125);
    assert!(
        stderr(&output).contains("there is no user \"no such user\" in the sandbox"),
        "{}",
        stderr(&output)
    );
    assert_eq!(stdout(&output), "");
}
