//! `sandbox url`: signed addresses of ports.

#![cfg(unix)]

use crate::support::{Cli, code, stderr};

#[test]
fn an_address_is_signed_for_one_instance() {
    let cli = Cli::new();
    let id = cli.create();
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("signing.key");
    std::fs::write(&key, [7; 32]).unwrap();
    let key = key.to_str().unwrap();
    let gateway = "https://sbx.example:8443";
    let url = |id: &str| {
        cli.expect_ok([
            "url",
            "--gateway",
            gateway,
            "--signing-key",
            key,
            id,
            "3000",
        ])
    };
    let first = url(&id);
    let start = format!("https://3000-{id}.sbx.example:8443/?sandbox-token=");
    assert!(first.starts_with(&start), "{first}");
    // The expiry, a dot, and 256 bits in hex.
    let token = first.trim_end().strip_prefix(&start).unwrap();
    let (expires, tag) = token.split_once('.').unwrap();
    assert!(expires.parse::<u64>().is_ok() && tag.len() == 64, "{token}");
    let other = url(&cli.create());
    assert_ne!(other.trim_end().rsplit('.').next().unwrap(), tag);
}

#[test]
fn mistakes_are_told_before_anything_is_printed() {
    let cli = Cli::new();
    let id = cli.create();
    let dir = tempfile::tempdir().unwrap();
    let short = dir.path().join("short");
    std::fs::write(&short, "too short").unwrap();
    let short = short.to_str().unwrap();
    for (args, message) in [
        (
            ["--gateway", "https://x", "--signing-key", short, &id, "80"],
            "it needs at least 32",
        ),
        (
            [
                "--gateway",
                "https://x",
                "--signing-key",
                "/no/such/file",
                &id,
                "80",
            ],
            "cannot read /no/such/file",
        ),
        (
            ["--gateway", "https://x", "--signing-key", short, &id, "0"],
            "0 is not in 1..=65535",
        ),
    ] {
        let output = cli.run([["url"].as_slice(), args.as_slice()].concat());
        assert_ne!(code(&output), 0);
        assert!(output.stdout.is_empty());
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
}
