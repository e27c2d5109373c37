//! Jobs: started, listed, followed, waited for, signalled.

#![cfg(unix)]

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};

use crate::support::terminal::Terminal;
use crate::support::{Cli, code, stderr, stdout};

#[test]
fn a_job_outlives_the_command_that_started_it() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "echo one; echo two; read x < go; echo three; exit 4";
    cli.expect_ok(["exec", &id, "mkfifo", "go"]);
    let job = cli
        .expect_ok(["exec", "--detach", &id, "--", "sh", "-c", script])
        .trim_end()
        .to_owned();
    assert!(cli.expect_ok(["jobs", &id]).contains("running"));
    assert_eq!(cli.expect_ok(["jobs", "-q", &id]), format!("{job}\n"));
    let jobs = cli.expect_ok(["-q", "jobs", "-o", "json", &id]);
    let jobs: serde_json::Value = serde_json::from_str(&jobs).unwrap();
    assert_eq!(jobs[0]["id"], job);

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
    cli.expect_ok(["exec", &id, "--", "sh", "-c", "echo go > go"]);
    shown.read_to_string(&mut line).unwrap();
    assert!(line.ends_with("three\n"), "{line}");
    assert_eq!(follower.wait().unwrap().code(), Some(4));

    assert_eq!(cli.expect_ok(["logs", &id]), "one\ntwo\nthree\n");
    assert_eq!(
        cli.expect_ok(["logs", "--tail", "2", &id, &job]),
        "two\nthree\n"
    );
    assert_eq!(cli.expect_ok(["logs", "-n", "1", &id, &job]), "three\n");
    assert_eq!(code(&cli.run(["wait", &id])), 4);
    assert!(cli.expect_ok(["jobs", &id]).contains("exited (4)"));
    let json: serde_json::Value =
        serde_json::from_str(&cli.expect_ok(["jobs", "-o", "json", &id])).unwrap();
    assert_eq!(json[0]["exit_code"], 4);
}

#[test]
fn a_long_log_keeps_its_beginning_and_its_end() {
    let cli = Cli::new();
    let id = cli.create();
    // More than 64 MiB.
    let script = "seq 9000000; echo THE LAST LINE; exit 5";
    let job = cli.expect_ok(["exec", "-d", &id, "--", "sh", "-c", script]);
    let job = job.trim_end();
    assert_eq!(code(&cli.run(["wait", &id, job])), 5);
    let all = cli.run(["logs", &id, job]);
    assert_eq!((code(&all), all.stdout.len()), (0, 64 << 20));
    assert!(all.stdout.starts_with(b"1\n2\n3\n"));
    assert!(all.stdout.ends_with(b"\n9000000\nTHE LAST LINE\n"));
    assert!(
        stderr(&all).starts_with("sandbox: ")
            && stderr(&all).contains(" bytes of the log are left out here"),
        "{}",
        stderr(&all)
    );
    let last = cli.run(["logs", "-n", "1", &id, job]);
    assert_eq!((&*stdout(&last), &*stderr(&last)), ("THE LAST LINE\n", ""));
    let followed = cli.run(["logs", "-f", "-n", "2", &id, job]);
    assert_eq!(
        (code(&followed), &*stdout(&followed), &*stderr(&followed)),
        (5, "9000000\nTHE LAST LINE\n", "")
    );
    assert!(cli.expect_ok(["jobs", &id]).contains("64.0 MiB of 67."));
}

#[test]
fn kill_ends_a_job() {
    let cli = Cli::new();
    let id = cli.create();
    let job = cli.expect_ok(["exec", "-d", &id, "sleep", "1000"]);
    cli.expect_ok(["kill", &id, job.trim_end()]);
    assert_eq!(code(&cli.run(["wait", &id, job.trim_end()])), 143);
    let unknown = cli.run(["kill", "-s", "9", &id, "job-none"]);
    assert!(
        code(&unknown) == 125 && stderr(&unknown).contains("has no job"),
        "{}",
        stderr(&unknown)
    );
}

#[test]
fn logs_system_prints_the_log_of_the_server() {
    let cli = Cli::new();
    let id = cli.create();
    // A server without problems logs nothing.
    assert_eq!(cli.expect_ok(["logs", "--system", &id]), "");
    let mut log = File::options()
        .append(true)
        .open(cli.state_dir().join(&id).join("log"))
        .unwrap();
    log.write_all(b"one\n\x1b[2Jtwo\n").unwrap();
    assert_eq!(
        cli.expect_ok(["logs", "--system", &id]),
        "one\n\u{1b}[2Jtwo\n"
    );
    assert_eq!(
        cli.expect_ok(["logs", "--system", "-n", "1", &id]),
        "\u{1b}[2Jtwo\n"
    );
    let mut terminal = Terminal::open(80, 24);
    let mut follower = terminal.start(&cli, &["logs", "--system", "--follow", &id]);
    terminal.wait_for("one\r\n\\u{1b}[2Jtwo\r\n");
    log.write_all(b"three\n").unwrap();
    terminal.wait_for("three\r\n");
    cli.expect_ok(["rm", &id]);
    assert_eq!(follower.wait().unwrap().code(), Some(0));
    let both = cli.run(["logs", "--system", &id, "job-1"]);
    assert_eq!(code(&both), 125);
}

#[test]
fn job_errors_say_what_to_do() {
    let cli = Cli::new();
    let id = cli.create();
    let none = cli.run(["logs", &id]);
    assert!(
        code(&none) == 125 && stderr(&none).contains("exec --detach"),
        "{}",
        stderr(&none)
    );
    let missing = cli.run(["exec", "-d", &id, "no-such-program"]);
    assert!(
        code(&missing) == 125 && stderr(&missing).contains("not found"),
        "{}",
        stderr(&missing)
    );
}
