//! `--egress-transform`. The only server is on loopback.

#![cfg(unix)]

use crate::origin::Origin;
use crate::support::{Cli, code, stderr, stdout};

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
    let secret = "sk-live-0123456789";
    let sent = format!("authorization: Bearer {secret}\r\n");
    let origin = Origin::start(&cli, move |head| {
        head.contains(&sent) && head.matches("authorization: ").count() == 1
    });
    let port = origin.port;
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
