//! `sandbox forward`: ports of a sandbox on this machine.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use support::{Cli, code, stderr, stdout};

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
