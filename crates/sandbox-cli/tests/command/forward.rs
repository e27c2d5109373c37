//! `sandbox forward`: ports of a sandbox on this machine.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{Cli, code, stderr, stdout};

/// Runs a Python server in the sandbox, which prints `ready` once it listens, and forwards its port.
/// Returns the forward and its local address.
fn start(cli: &Cli, id: &str, port: u16, server: &str) -> (Child, String) {
    cli.expect_ok(["exec", "-d", id, "--", "python3", "-c", server]);
    while !cli.expect_ok(["logs", id]).contains("ready") {}
    let mut forward = cli.spawn(["forward", id, &format!(":{port}")]);
    let mut line = String::new();
    BufReader::new(forward.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.split(' ').next().unwrap().to_owned();
    (forward, address)
}

#[test]
fn a_writer_learns_that_the_server_has_closed_the_connection() {
    let cli = Cli::new();
    let id = cli.create();
    let server = "import socket\ns = socket.create_server(('127.0.0.1', 8124))\nprint('ready', flush=True)\n\
                  while True:\n c, _ = s.accept()\n c.sendall(b'bye')\n c.close()\n";
    let (mut forward, address) = start(&cli, &id, 8124, server);
    let mut stream = TcpStream::connect(address).unwrap();
    let mut bye = String::new();
    stream.read_to_string(&mut bye).unwrap();
    assert_eq!(bye, "bye");
    let begun = Instant::now();
    while stream.write_all(b"is anybody there?").is_ok() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "writes are accepted for ever"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    forward.kill().unwrap();
    forward.wait().unwrap();
}

#[test]
fn a_hundred_connections_are_forwarded_at_once_and_a_warning_appears_once() {
    let cli = Cli::new();
    let id = cli.create();
    let server = "import socket, threading\ns = socket.create_server(('127.0.0.1', 8125), backlog=200)\nprint('ready', flush=True)\n\
                  def echo(c):\n while d := c.recv(99):\n  c.sendall(d)\n\
                  for _ in range(100):\n threading.Thread(target=echo, args=(s.accept()[0],), daemon=True).start()\n\
                  s.close()\nimport time\ntime.sleep(1000)\n";
    let (mut forward, address) = start(&cli, &id, 8125, server);
    let mut held = Vec::new();
    for n in 0..100 {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(b"hi").unwrap();
        let mut hi = [0; 2];
        stream
            .read_exact(&mut hi)
            .unwrap_or_else(|error| panic!("connection {n}: {error}"));
        held.push(stream);
    }
    // Now nothing listens any more.
    for _ in 0..5 {
        let mut nothing = Vec::new();
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.read_to_end(&mut nothing).unwrap();
        assert_eq!(nothing, b"");
    }
    cli.expect_ok(["rm", &id]);
    let mut printed = String::new();
    let mut stderr = forward.stderr.take().unwrap();
    stderr.read_to_string(&mut printed).unwrap();
    forward.wait().unwrap();
    assert_eq!(
        printed.matches("nothing answers at").count(),
        1,
        "{printed}"
    );
}

#[test]
fn a_forwarded_port_reaches_a_server_in_the_sandbox() {
    let cli = Cli::new();
    let id = cli.create();
    let server = "import socket\ns = socket.create_server(('127.0.0.1', 8123))\nprint('ready', flush=True)\n\
                  c, _ = s.accept()\nc.sendall(c.recv(9).upper())\n";
    cli.expect_ok(["exec", "-d", &id, "--", "python3", "-c", server]);
    while !cli.expect_ok(["logs", &id]).contains("ready") {}
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

    // If nothing listens on the port, a note says so.
    while cli.expect_ok(["jobs", &id]).contains("running") {}
    let mut nothing = Vec::new();
    TcpStream::connect(address)
        .unwrap()
        .read_to_end(&mut nothing)
        .unwrap();
    assert_eq!(nothing, b"");

    // The command exits when the sandbox ends.
    cli.expect_ok(["rm", &id]);
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
