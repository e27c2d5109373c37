//! `-t` on a real terminal, which is raw while the command runs and restored afterwards.

#![cfg(unix)]

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Cli;
use crate::support::terminal::Terminal;

#[test]
fn keys_sizes_and_the_end_of_input_are_forwarded() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(91, 17));
    let script = "stty size; while read x; do echo got=$x; stty size; done; exit 6";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "bash", "-c", script]);
    terminal.wait_for("17 91\r\n");
    assert!(!terminal.is_cooked());
    terminal.type_keys("Ada\r");
    terminal.wait_for("got=Ada\r\n");
    terminal.resize(60, 20);
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    while !terminal.screen.contains("20 60\r\n") {
        // The signal and the keys may arrive in any order.
        terminal.type_keys("Eve\r");
        terminal.wait_for_more();
    }
    terminal.type_keys("\u{4}");
    assert_eq!(child.wait().unwrap().code(), Some(6));
    assert!(terminal.is_cooked());
    assert!(cli.list_ids().is_empty());
}

#[test]
fn exec_runs_an_interactive_shell() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let id = cli.create();
    let mut child = terminal.start(
        &cli,
        &["exec", "-it", "-e", "PS1=at-once:", &id, "--", "sh", "-i"],
    );
    terminal.wait_for("at-once:");
    assert!(!terminal.is_cooked());
    terminal.type_keys("test -t 0 && echo with a $((40 + 2)) terminal\r");
    terminal.wait_for("with a 42 terminal\r\n");
    // Ctrl-C goes to the command that the shell runs, and not to the shell.
    terminal.type_keys("sh -c 'echo begun; exec sleep 1000'\r");
    terminal.wait_for("begun\r\n");
    terminal.type_keys("\u{3}");
    terminal.type_keys("echo after $?\r");
    terminal.wait_for("after 130\r\n");
    terminal.type_keys("exit 9\r");
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(terminal.is_cooked());
    assert_eq!(cli.list_ids(), [id], "exec does not delete the sandbox");
}

#[test]
fn ctrl_c_goes_to_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    terminal.type_keys("\u{3}");
    terminal.wait_for("caught");
    assert_eq!(child.wait().unwrap().code(), Some(7));
    assert!(terminal.is_cooked());
}

#[test]
fn ctrl_backslash_goes_to_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap 'echo quitting; exit 8' QUIT; echo ready; while :; do sleep 0.05; done";
    let mut child = terminal.start(&cli, &["run", "-t", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    terminal.type_keys("\u{1c}");
    terminal.wait_for("quitting");
    assert_eq!(child.wait().unwrap().code(), Some(8));
    assert!(terminal.is_cooked());
}

#[test]
fn a_note_says_how_to_kill_a_command_that_ignores_ctrl_c() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let script = "trap '' INT; echo ready; while :; do sleep 1; done";
    let mut child = terminal.start(&cli, &["run", "--", "sh", "-c", script]);
    terminal.wait_for("ready\r\n");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    terminal.wait_for("press Ctrl-C again to kill it");
    assert!(child.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(cli.list_ids().is_empty());
}

#[test]
fn a_signal_restores_the_terminal() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let mut child = terminal.start(
        &cli,
        &["run", "-t", "--", "sh", "-c", "echo ready; exec sleep 1000"],
    );
    terminal.wait_for("ready\r\n");
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(terminal.is_cooked());
    assert!(cli.list_ids().is_empty());
}

#[test]
fn a_closed_terminal_ends_the_command() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let mut child = terminal.start(
        &cli,
        &["run", "-t", "--", "sh", "-c", "echo ready; exec sleep 1000"],
    );
    terminal.wait_for("ready\r\n");
    drop(terminal);
    // The command ends by a hangup, or because reading or writing fails.
    assert_ne!(child.wait().unwrap().code(), Some(0));
    assert!(cli.list_ids().is_empty());
}

#[test]
fn an_error_is_printed_after_the_terminal_is_restored() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(80, 24));
    let args = ["run", "-t", "--timeout", "300ms", "--", "sleep", "1000"];
    let mut child = terminal.start(&cli, &args);
    terminal.wait_for("ran longer than 300ms");
    assert_eq!(child.wait().unwrap().code(), Some(124));
    assert!(terminal.is_cooked());
}
