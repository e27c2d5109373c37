//! `sandbox doctor`.

#![cfg(unix)]

use crate::support::{Cli, code, stdout};

#[test]
fn all_checks_pass_where_sandboxes_can_be_created() {
    let cli = Cli::new();
    let report = cli.expect_ok(["doctor"]);
    assert!(
        report.contains("pass  a sandbox: created in") && report.contains("isolation"),
        "{report}"
    );
    // Which of them depends on this machine.
    let pauses = ["the freezer of its control group", "signals"];
    let names_pause = |by: &&str| report.contains(&format!("pass  pause: by {by}"));
    assert!(pauses.iter().any(names_pause), "{report}");
    assert!(!report.contains('\u{1b}') && cli.list_ids().is_empty());
    let json: serde_json::Value =
        serde_json::from_str(&cli.expect_ok(["doctor", "-o", "json"])).unwrap();
    assert_eq!(
        (json[0]["name"].as_str(), json[0]["verdict"].as_str()),
        (Some("settings"), Some("passed"))
    );
}

#[test]
fn a_failed_check_has_a_remedy() {
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
