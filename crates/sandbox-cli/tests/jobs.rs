//! Jobs: started, listed, followed, waited for, signalled; and ports.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use support::terminal::Terminal;
use support::{Cli, code, stderr, stdout};

#[test]
fn a_job_outlives_the_command_that_started_it() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "echo one; echo two; read x < go; echo three; exit 4";
    cli.ok(["exec", &id, "mkfifo", "go"]);
    let job = cli
        .ok(["exec", "--detach", &id, "--", "sh", "-c", script])
        .trim_end()
        .to_owned();
    assert!(cli.ok(["jobs", &id]).contains("running"));
    assert_eq!(cli.ok(["jobs", "-q", &id]), format!("{job}\n"));

    let mut follower = cli.spawn([
        "logs",
        "--follow",
        "--tail",
        "1",
        &id,
        &job[..job.len() - 1],
    ]);
    let mut shown = BufReader::new(follower.stdout.take().unwrap());
    let mut line = String::new();
    shown.read_line(&mut line).unwrap();
    assert!(line == "two\n" || line == "one\n", "{line}");
    cli.ok(["exec", &id, "--", "sh", "-c", "echo go > go"]);
    shown.read_to_string(&mut line).unwrap();
    assert!(line.ends_with("three\n"), "{line}");
    assert_eq!(follower.wait().unwrap().code(), Some(4));

    assert_eq!(cli.ok(["logs", &id]), "one\ntwo\nthree\n");
    assert_eq!(cli.ok(["logs", "--tail", "2", &id, &job]), "two\nthree\n");
    assert_eq!(cli.ok(["logs", "-n", "1", &id, &job]), "three\n");
    assert_eq!(code(&cli.output(["wait", &id])), 4);
    assert!(cli.ok(["jobs", &id]).contains("exited (4)"));
    let json: serde_json::Value =
        serde_json::from_str(&cli.ok(["jobs", "-o", "json", &id])).unwrap();
    assert_eq!(json[0]["exit_code"], 4);
}

#[test]
fn a_job_can_be_ended() {
    let cli = Cli::new();
    let id = cli.create();
    let job = cli.ok(["exec", "-d", &id, "sleep", "1000"]);
    cli.ok(["kill", &id, job.trim_end()]);
    assert_eq!(code(&cli.output(["wait", &id, job.trim_end()])), 143);
    let again = cli.output(["kill", "-s", "9", &id, "job-none"]);
    assert!(
        code(&again) == 125 && stderr(&again).contains("has no job"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn the_log_of_a_sandboxs_own_server_is_shown() {
    let cli = Cli::new();
    let id = cli.create();
    // Nothing was wrong with it, so it said nothing.
    assert_eq!(cli.ok(["logs", "--system", &id]), "");
    let mut log = File::options()
        .append(true)
        .open(cli.state().join(&id).join("log"))
        .unwrap();
    log.write_all(b"one\n\x1b[2Jtwo\n").unwrap();
    assert_eq!(cli.ok(["logs", "--system", &id]), "one\n\u{1b}[2Jtwo\n");
    assert_eq!(
        cli.ok(["logs", "--system", "-n", "1", &id]),
        "\u{1b}[2Jtwo\n"
    );
    let mut terminal = Terminal::open(80, 24);
    let mut follower = terminal.start(&cli, &["logs", "--system", "--follow", &id]);
    terminal.wait_for("one\r\n\\u{1b}[2Jtwo\r\n");
    log.write_all(b"three\n").unwrap();
    terminal.wait_for("three\r\n");
    cli.ok(["rm", &id]);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    let both = cli.output(["logs", "--system", &id, "job-1"]);
    assert_eq!(code(&both), 125);
}

#[test]
fn what_cannot_be_a_job_is_explained() {
    let cli = Cli::new();
    let id = cli.create();
    let none = cli.output(["logs", &id]);
    assert!(
        code(&none) == 125 && stderr(&none).contains("exec --detach"),
        "{}",
        stderr(&none)
    );
    let missing = cli.output(["exec", "-d", &id, "no-such-program"]);
    assert!(
        code(&missing) == 125 && stderr(&missing).contains("not found"),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn a_port_inside_is_reached_from_here() {
    let cli = Cli::new();
    let id = cli.create();
    let server = "import socket\ns = socket.create_server(('127.0.0.1', 8123))\nprint('ready', flush=True)\n\
                  c, _ = s.accept()\nc.sendall(c.recv(9).upper())\n";
    cli.ok(["exec", "-d", &id, "--", "python3", "-c", server]);
    while !cli.ok(["logs", &id]).contains("ready") {}
    let mut forward = cli.spawn(["forward", "--address", "localhost", &id, ":8123"]);
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.strip_suffix(" -> 8123\n").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"forwarded").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "FORWARDED");

    // Where nothing listens any more, it says what that may mean.
    while cli.ok(["jobs", &id]).contains("running") {}
    let mut nothing = Vec::new();
    TcpStream::connect(address)
        .unwrap()
        .read_to_end(&mut nothing)
        .unwrap();
    assert_eq!(nothing, b"");

    // It ends with the sandbox, and says so.
    cli.ok(["rm", &id]);
    let ended = forward.wait_with_output().unwrap();
    assert!(
        code(&ended) == 125 && stderr(&ended).contains("has ended"),
        "{}",
        stderr(&ended)
    );
    assert!(
        stderr(&ended).contains("nothing answers at localhost:8123"),
        "{}",
        stderr(&ended)
    );
    assert_eq!(stdout(&ended), "");
}
