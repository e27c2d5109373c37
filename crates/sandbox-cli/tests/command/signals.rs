//! Signals to `sandbox run`.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::Cli;

#[test]
fn a_signal_ends_the_command_and_deletes_the_sandbox() {
    let cli = Cli::new();
    for (signal, expected) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut child = cli.spawn(["run", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
        let _rest = wait_until_ready(&mut child);
        assert_eq!(cli.list_ids().len(), 1);
        send(&child, signal);
        assert_eq!(child.wait().unwrap().code(), Some(expected), "{signal:?}");
        assert!(cli.list_ids().is_empty(), "{signal:?}");
    }
}

#[test]
fn a_command_can_handle_a_signal() {
    let cli = Cli::new();
    let mut child = cli.spawn([
        "run",
        "--",
        "sh",
        "-c",
        "trap 'echo bye; exit 7' INT; echo ready; while :; do sleep 0.05; done",
    ]);
    let mut rest = wait_until_ready(&mut child);
    send(&child, Signal::INT);
    let mut output = String::new();
    rest.read_to_string(&mut output).unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), output.as_str()),
        (Some(7), "bye\n")
    );
    assert!(cli.list_ids().is_empty());
}

/// As with docker, because the command may be cleaning up.
#[test]
fn an_interrupted_command_has_no_time_limit() {
    let cli = Cli::new();
    let script =
        "trap 'sleep 4; echo cleaned; exit 5' INT; echo ready; while :; do sleep 0.05; done";
    let mut child = cli.spawn(["run", "--", "sh", "-c", script]);
    let mut rest = wait_until_ready(&mut child);
    send(&child, Signal::INT);
    let mut output = String::new();
    rest.read_to_string(&mut output).unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), output.as_str()),
        (Some(5), "cleaned\n")
    );

    // A second signal kills the command even if it ignores it.
    let mut child = cli.spawn([
        "run",
        "--",
        "sh",
        "-c",
        "trap '' INT; echo ready; while :; do sleep 1; done",
    ]);
    let _rest = wait_until_ready(&mut child);
    send(&child, Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none());
    send(&child, Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(cli.list_ids().is_empty());
}

#[test]
fn a_command_that_ignores_signals_is_killed() {
    let cli = Cli::new();
    let mut child = cli.spawn([
        "run",
        "--",
        "sh",
        "-c",
        "trap '' INT TERM HUP; echo ready; while :; do sleep 1; done",
    ]);
    let _rest = wait_until_ready(&mut child);
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(cli.list_ids().is_empty());
}

fn wait_until_ready(child: &mut Child) -> BufReader<std::process::ChildStdout> {
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    lines
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}
