//! What is shown on a terminal only: bars, steps, colours and questions.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::terminal::Terminal;
use support::{Cli, code, stderr, stdout};

const ESCAPE: char = '\u{1b}';

/// More than the pipes and windows on the way hold.
const MUCH: usize = 24 << 20;

#[test]
fn a_copy_shows_how_far_it_is() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(100, 24));
    let id = cli.create();
    // Without content on the disk, and long enough to be seen.
    File::create(cli.path("large"))
        .unwrap()
        .set_len(4 << 30)
        .unwrap();
    let mut child = terminal.start(&cli, &["cp", "large", &format!("{id}:large")]);
    terminal.wait_for("of 4.00 GiB");
    terminal.wait_for("iB/s");
    terminal.wait_for(" left");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        cli.ok(["exec", &id, "--", "ls", "-A"]),
        "",
        "nothing half-written stays"
    );
}

#[test]
fn a_copy_to_a_pipe_shows_it_as_well() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(100, 24));
    let id = cli.create();
    cli.ok([
        "exec",
        &id,
        "--",
        "truncate",
        "-s",
        &MUCH.to_string(),
        "much",
    ]);
    let source = format!("{id}:much");
    let mut child = terminal
        .command(&cli, &["cp", &source, "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads yet.
    terminal.wait_for("of 24.00 MiB");
    terminal.wait_for(" left");
    let mut content = Vec::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), content.len()),
        (Some(0), MUCH)
    );

    let mut terminal = Terminal::open(100, 24);
    let mut quiet = terminal
        .command(&cli, &["cp", "-q", &source, "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(900));
    quiet
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    assert_eq!(quiet.wait().unwrap().code(), Some(0));
    terminal.type_in("the end\r");
    terminal.wait_for("the end");
    assert_eq!(terminal.shown.trim_end(), "the end", "it was quiet");

    // What is not a terminal gets none.
    let mut piped = cli.spawn(["cp", &source, "-"]);
    std::thread::sleep(Duration::from_millis(900));
    piped
        .stdout
        .take()
        .unwrap()
        .read_to_end(&mut content)
        .unwrap();
    let output = piped.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn a_copy_from_a_pipe_shows_what_came() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(100, 24));
    let id = cli.create();
    let target = format!("{id}:piped");
    let mut child = terminal
        .command(&cli, &["cp", "-", &target])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&[7; 1 << 20]).unwrap();
    terminal.wait_for("1.00 MiB  ");
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(
        cli.ok(["exec", &id, "--", "stat", "-c", "%s", "piped"]),
        "1048576\n"
    );
}

#[test]
fn a_slow_creation_shows_its_steps() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let program = env!("CARGO_BIN_EXE_sandbox");
    let script =
        format!("#!/bin/bash\nsleep 0.7\nexec -a sandbox-local-supervisor {program} \"$@\"\n");
    cli.path_with("slow-server", &script);
    let server = cli.path("bin/slow-server");
    let mut create = |args: &[&str], no_colour: &str| {
        terminal.shown.clear();
        let mut command = terminal.command(&cli, args);
        command
            .env("SANDBOX_LOCAL_SERVER", &server)
            .env("NO_COLOR", no_colour);
        assert_eq!(command.spawn().unwrap().wait().unwrap().code(), Some(0));
        // With the id, which is the last of it.
        terminal.wait_for("sbx-");
        terminal.wait_for("\r\n");
        while !terminal
            .shown
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .starts_with("sbx-")
        {
            terminal.wait_for_more();
        }
        terminal.shown.clone()
    };
    let coloured = create(&["create"], "");
    assert!(
        coloured.contains(" s\u{1b}[0m  Started") && coloured.contains("\u{1b}[32mReady"),
        "{coloured:?}"
    );
    let plain = create(&["create"], "1");
    assert!(
        plain.contains(" s  Started") && plain.contains("Ready"),
        "{plain:?}"
    );
    assert!(!plain.contains(ESCAPE), "{plain:?}");
    let quiet = create(&["-q", "create"], "");
    assert!(quiet.starts_with("sbx-"), "{quiet:?}");

    let mut command = cli.command(["create"]);
    let piped = command
        .env("SANDBOX_LOCAL_SERVER", &server)
        .output()
        .unwrap();
    assert_eq!((code(&piped), stderr(&piped).as_str()), (0, ""));
    assert_eq!(stdout(&piped).lines().count(), 1);
}

#[test]
fn all_are_removed_when_somebody_says_so() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let (one, two) = (cli.create(), cli.create());
    for answer in ["n\r", "\r", "yess\r"] {
        terminal.shown.clear();
        let mut child = terminal.start(&cli, &["rm", "--all"]);
        terminal.wait_for("Remove all 2 sandboxes on this machine? [y/N] ");
        terminal.type_in(answer);
        terminal.wait_for("nothing was removed");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{answer:?}");
        assert_eq!(cli.ids().len(), 2);
    }
    let mut child = terminal.start(&cli, &["rm", "--all"]);
    terminal.wait_for("[y/N] ");
    terminal.type_in("y\r");
    terminal.wait_for(&format!("{one}\r\n{two}\r\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(cli.ids().is_empty());
}
