//! Output that appears only on a terminal: progress bars, steps, colours and prompts.

#![cfg(unix)]

use std::fs::File;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::terminal::Terminal;
use crate::support::{Cli, code, stderr, stdout};

const ESCAPE: char = '\u{1b}';

/// More than fits into the buffers of all pipes and SSH windows in between.
const SIZE: usize = 24 << 20;

#[test]
fn a_copy_shows_a_progress_bar() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(100, 24));
    let id = cli.create();
    // A sparse file, large enough that its copy takes a while.
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
        cli.expect_ok(["exec", &id, "--", "ls", "-A"]),
        "",
        "no partial file is left"
    );
}

#[test]
fn a_copy_to_a_pipe_shows_a_progress_bar() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(100, 24));
    let id = cli.create();
    cli.expect_ok([
        "exec",
        &id,
        "--",
        "truncate",
        "-s",
        &SIZE.to_string(),
        "much",
    ]);
    let source = format!("{id}:much");
    let mut child = terminal
        .command(&cli, &["cp", &source, "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe is not read yet, so the copy is blocked.
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
        (Some(0), SIZE)
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
    terminal.type_keys("the end\r");
    terminal.wait_for("the end");
    assert_eq!(
        terminal.screen.trim_end(),
        "the end",
        "nothing else was printed"
    );

    // There is no bar if stderr is not a terminal.
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
fn a_copy_from_a_pipe_shows_the_bytes_read() {
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
        cli.expect_ok(["exec", &id, "--", "stat", "-c", "%s", "piped"]),
        "1048576\n"
    );
}

#[test]
fn a_slow_creation_shows_its_steps() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let program = env!("CARGO_BIN_EXE_sandbox");
    let script =
        format!("#!/bin/bash\nsleep 0.7\nexec -a sandbox-local-supervisor {program} \"$@\"\n");
    cli.add_program("slow-server", &script);
    let server = cli.path("bin/slow-server");
    let mut create = |args: &[&str], no_colour: &str| {
        terminal.screen.clear();
        let mut command = terminal.command(&cli, args);
        command
            .env("SANDBOX_LOCAL_SERVER", &server)
            .env("NO_COLOR", no_colour);
        assert_eq!(command.spawn().unwrap().wait().unwrap().code(), Some(0));
        // The id is the last line of the output.
        terminal.wait_for("sbx-");
        terminal.wait_for("\r\n");
        while !terminal
            .screen
            .trim_end()
            .lines()
            .last()
            .unwrap_or_default()
            .starts_with("sbx-")
        {
            terminal.wait_for_more();
        }
        terminal.screen.clone()
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
fn rm_all_asks_for_confirmation() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let (one, two) = (cli.create(), cli.create());
    for answer in ["n\r", "\r", "yess\r"] {
        terminal.screen.clear();
        let mut child = terminal.start(&cli, &["rm", "--all"]);
        terminal.wait_for("Delete all 2 sandboxes on this machine? [y/N] ");
        terminal.type_keys(answer);
        terminal.wait_for("nothing was deleted");
        assert_eq!(child.wait().unwrap().code(), Some(1), "{answer:?}");
        assert_eq!(cli.list_ids().len(), 2);
    }
    let mut child = terminal.start(&cli, &["rm", "--all"]);
    terminal.wait_for("[y/N] ");
    terminal.type_keys("y\r");
    terminal.wait_for(&format!("{one}\r\n{two}\r\n"));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(cli.list_ids().is_empty());
}
