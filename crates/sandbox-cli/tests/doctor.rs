//! What is checked, and what is generated.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use support::{Cli, code, stderr, stdout};

#[test]
fn a_machine_that_makes_sandboxes_is_well() {
    let cli = Cli::new();
    let report = cli.ok(["doctor"]);
    assert!(
        report.contains("pass  a sandbox: created in") && report.contains("isolation"),
        "{report}"
    );
    assert!(!report.contains('\u{1b}') && cli.ids().is_empty());
    let json: serde_json::Value = serde_json::from_str(&cli.ok(["doctor", "-o", "json"])).unwrap();
    assert_eq!(
        (json[0]["name"].as_str(), json[0]["verdict"].as_str()),
        (Some("settings"), Some("passed"))
    );
}

#[test]
fn what_is_wrong_is_told_with_the_mend() {
    let cli = Cli::new();
    let output = cli
        .command(["doctor"])
        .env("SANDBOX_CPU", "lots")
        .output()
        .unwrap();
    assert!(
        code(&output) == 1 && stdout(&output).contains("FAIL  settings"),
        "{}",
        stdout(&output)
    );
    let output = cli
        .command(["doctor"])
        .env("SANDBOX_STATE_DIR", "/dev/null/x")
        .output()
        .unwrap();
    assert!(
        code(&output) == 1 && stdout(&output).contains("FAIL"),
        "{}",
        stdout(&output)
    );
    let output = cli
        .command(["--backend", "k8s", "doctor"])
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap();
    assert!(
        code(&output) == 1 && stdout(&output).contains("FAIL  backend"),
        "{}",
        stdout(&output)
    );
    let output = cli
        .command(["doctor"])
        .env("SANDBOX_CPUS", "2")
        .output()
        .unwrap();
    assert!(
        code(&output) == 0 && stdout(&output).contains("warn  settings"),
        "{}",
        stdout(&output)
    );
    assert!(
        stdout(&output).contains("SANDBOX_CPUS") && stdout(&output).contains("-> see .env.example")
    );
}

#[test]
fn completions_are_a_script_for_each_shell() {
    let cli = Cli::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            cli.ok(["completions", shell]).contains("ssh-config"),
            "{shell}"
        );
    }
    let script = cli.write("completions", cli.ok(["completions", "bash"]));
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(script)
        .output()
        .unwrap();
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
}

#[test]
fn there_is_a_page_for_each_subcommand() {
    let cli = Cli::new();
    cli.ok(["man", "pages"]);
    for page in ["sandbox.1", "sandbox-run.1", "sandbox-ssh-config.1"] {
        let text = std::fs::read_to_string(cli.path("pages").join(page)).unwrap();
        assert!(
            text.starts_with(".ie") && text.contains(".SH SYNOPSIS"),
            "{page}"
        );
    }
}
