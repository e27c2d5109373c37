//! `sandbox-sshd connect`, against a proxy of the test's own.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::thread;

/// Runs it against a proxy that answers with `reply` and then sends back what it receives. Returns what the proxy has
/// received first, and the output.
fn run(target: [&str; 2], input: &[u8], reply: &'static [u8]) -> (String, Output) {
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = proxy.local_addr().unwrap();
    let serving = thread::spawn(move || {
        let (mut stream, _) = proxy.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(reply).unwrap();
        let mut reader = stream.try_clone().unwrap();
        std::io::copy(&mut reader, &mut stream).ok();
        String::from_utf8(head).unwrap()
    });
    let mut child = Command::new(env!("CARGO_BIN_EXE_sandbox-sshd"))
        .arg("connect")
        .args(target)
        .env("HTTPS_PROXY", format!("http://{address}"))
        .env_remove("https_proxy")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).ok();
    let output = child.wait_with_output().unwrap();
    (serving.join().unwrap(), output)
}

#[test]
fn what_the_proxy_lets_through_is_carried() {
    let ok = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\nSSH-2.0-x\n";
    let (head, output) = run(["git.example", "22"], b"hello", ok);
    assert_eq!(
        head,
        "CONNECT git.example:22 HTTP/1.1\r\nHost: git.example:22\r\n\r\n"
    );
    assert!(output.status.success(), "{output:?}");
    assert_eq!(output.stdout, b"SSH-2.0-x\nhello");
}

#[test]
fn what_it_refuses_is_said_on_one_line() {
    let refused = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 33\r\n\r\nit is refused\nto allow it, \x1b[2Jask";
    let (_, output) = run(["git.example", "22"], b"", refused);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "sandbox-sshd: it is refused; to allow it, \\u{1b}[2Jas\n"
    );
    assert!(output.stdout.is_empty());
    let (_, output) = run(
        ["git.example", "22"],
        b"",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
    );
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("502 Bad Gateway")
    );
}

#[test]
fn without_a_proxy_there_is_no_way() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandbox-sshd"));
    for name in ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    let output = command
        .args(["connect", "git.example", "22"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("HTTPS_PROXY is not set")
    );
}
