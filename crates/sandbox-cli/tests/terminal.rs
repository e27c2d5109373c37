//! `-t` on a real terminal: raw while the command runs, as it was afterwards.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use rustix::process::{Pid, Signal, kill_process};
use support::Cli;
use support::terminal::Terminal;

#[test]
fn keys_sizes_and_the_end_come_through() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(91, 17));
    let script = "stty size; while read x; do echo got=$x; stty size; done; exit 6";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "bash", "-c", script]);
    terminal.wait_for("17 91\r\n");
    assert!(!terminal.is_cooked());
    terminal.type_in("Ada\r");
    terminal.wait_for("got=Ada\r\n");
    terminal.resize(60, 20);
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    while !terminal.shown.contains("20 60\r\n") {
        // The signal and the keys go different ways.
        terminal.type_in("Eve\r");
        terminal.wait_for_more();
    }
    terminal.type_in("\u{4}");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(terminal.is_cooked());
    assert!(cli.ids().is_empty());
}

#[test]
fn a_shell_in_a_sandbox_that_is_there() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let id = cli.create();
    let mut child = terminal.start(
        &cli,
        &["exec", "-it", "-e", "PS1=at-once:", &id, "--", "sh", "-i"],
    );
    terminal.wait_for("at-once:");
    assert!(!terminal.is_cooked());
    terminal.type_in("test -t 0 && echo with a $((40 + 2)) terminal\r");
    terminal.wait_for("with a 42 terminal\r\n");
    // To the command that the shell runs, and not to the shell.
    terminal.type_in("sh -c 'echo begun; exec sleep 1000'\r");
    terminal.wait_for("begun\r\n");
    terminal.type_in("\u{3}");
    terminal.type_in("echo after $?\r");
    terminal.wait_for("after 130\r\n");
    terminal.type_in("exit 9\r");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(terminal.is_cooked());
    assert_eq!(cli.ids(), [id], "it is still there");
}

#[test]
fn interrupting_keys_go_to_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    terminal.type_in("\u{3}");
    terminal.wait_for("caught");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(terminal.is_cooked());
}

#[test]
fn the_key_that_quits_goes_to_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap 'echo told to quit; exit 8' QUIT; echo ready; while :; do sleep 0.05; done";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    terminal.type_in("\u{1c}");
    terminal.wait_for("told to quit");
    assert_eq!(child.wait().unwrap().code(), Some(8));
    assert!(terminal.is_cooked());
}

#[test]
fn who_interrupts_a_command_that_goes_on_is_told_how_to_end_it() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap '' INT; echo ready; while :; do sleep 1; done";
    let mut child = terminal.start(&cli, &["run", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    terminal.wait_for("Control-C once more ends it at once");
    assert!(child.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(cli.ids().is_empty());
}

#[test]
fn a_signal_from_outside_leaves_the_terminal_as_it_was() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let mut child = terminal.start(
        &cli,
        &["run", "-t", "--", "sh", "-c", "echo ready; exec sleep 1000"],
    );
    terminal.wait_for("ready\r\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(terminal.is_cooked());
    assert!(cli.ids().is_empty());
}

#[test]
fn a_terminal_that_goes_away_ends_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let mut child = terminal.start(
        &cli,
        &["run", "-t", "--", "sh", "-c", "echo ready; exec sleep 1000"],
    );
    terminal.wait_for("ready\r\n");
    drop(terminal);
    // With a hang-up, or with the failure to read or write.
    assert_ne!(child.wait().unwrap().code(), Some(0));
    assert!(cli.ids().is_empty());
}

#[test]
fn a_failure_is_told_on_a_terminal_that_is_as_it_was() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let args = ["run", "-t", "--timeout", "300ms", "--", "sleep", "1000"];
    let mut child = terminal.start(&cli, &args);
    terminal.wait_for("ran longer than 300ms");
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(terminal.is_cooked());
}
