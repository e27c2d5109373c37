//! `--egress-transform`. The only server is on loopback.

#![cfg(unix)]

use std::io::{BufRead, BufReader};

use crate::support::{Cli, code, stderr, stdout};

/// A server over TLS. It prints its port, and answers whether a request had the secret.
const SERVE: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"right" if self.headers.get_all("authorization") == ["Bearer " + sys.argv[1]] else b"wrong"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Asks the host by its own name, and prints all variables and the answer.
const ASK: &str = r#"
import os, sys, urllib.request
for name, value in os.environ.items():
    print(name, value)
request = urllib.request.Request(sys.argv[1], headers={"Authorization": "Bearer " + os.environ["API_KEY"]})
print(urllib.request.urlopen(request, timeout=20).read().decode())
"#;

#[test]
fn a_secret_stays_in_the_command() {
    let cli = Cli::new();
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    cli.write("server.pem", certified.cert.pem());
    cli.write("server.key", certified.signing_key.serialize_pem());
    let secret = "sk-live-0123456789";
    let mut server = std::process::Command::new("python3")
        .args(["-c", SERVE, secret])
        .current_dir(cli.path(""))
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let port = port.trim();
    let transform = format!("localhost:{port},variable=API_KEY,ca=server.pem");
    // The server is on this machine, which a rule has to allow.
    let (allow, url) = (
        format!("127.0.0.1:{port}"),
        format!("https://localhost:{port}/v1/models"),
    );
    let output = cli
        .command(["run", "-q", "-e", "NO_PROXY=", "-e", "no_proxy="])
        .args(["--egress-allow", &allow, "--egress-transform", &transform])
        .args(["--", "python3", "-c", ASK, &url])
        .env("API_KEY", secret)
        .output();
    server.kill().unwrap();
    server.wait().unwrap();
    let output = output.unwrap();
    let text = stdout(&output) + &stderr(&output);
    assert!(text.ends_with("right\n"), "{text}");
    assert!(text.contains("API_KEY sbx-placeholder-"), "{text}");
    assert!(!text.contains(secret), "{text}");
}

#[test]
fn mistakes_are_reported_without_the_secret() {
    let cli = Cli::new();
    for (arguments, message) in [
        (
            &[
                "--egress-transform",
                "a.example",
                "--egress-secret",
                "a.example=sk-live-0123",
            ][..],
            "write NAME=env:VARIABLE",
        ),
        (
            &["--egress-transform", "a.example,variable=API_KEY"],
            "API_KEY",
        ),
        (
            &[
                "--egress-transform",
                "a.example",
                "--egress-secret",
                "a.example=env:SECRET",
                "--egress",
                "internet",
            ],
            "nearly every host",
        ),
    ] {
        let output = cli
            .command(["run"].iter().chain(arguments).chain(&["--", "true"]))
            .env("SECRET", "sk-live-0123")
            .env_remove("API_KEY")
            .output()
            .unwrap();
        let text = stdout(&output) + &stderr(&output);
        assert_ne!(code(&output), 0, "{text}");
        assert!(text.contains(message), "{text}");
        assert!(!text.contains("sk-live"), "{text}");
    }
}
