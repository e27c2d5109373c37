//! Pools that processes share: usage, and what the local backend says. The tests on a cluster are in
//! `tests/k8s/shared_pools.rs`.

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn local_sandboxes_are_not_shared() {
    let cli = Cli::new();
    for args in [
        &["pool", "run", "ci", "--size", "2"][..],
        &["pool", "ls"],
        &["pool", "ls", "-o", "json"],
        &["pool", "drain", "ci"],
        &["pool", "rm", "ci", "--force"],
        &["run", "--pool", "ci", "--", "true"],
        &["run", "--pool", "ci", "--on-empty", "create", "--", "true"],
        &["create", "--pool", "ci"],
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}: {}", stderr(&output));
        let expected = "sandbox: the backend local does not support pools that processes share: use the Kubernetes \
                        backend (SANDBOX_BACKEND=k8s), or a pool of the program's own (client.pool)\n";
        assert_eq!(stderr(&output), expected, "{args:?}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let cli = Cli::new();
    for (args, word) in [
        (&["pool"][..], "Usage"),
        (&["pool", "run"], "<NAME>"),
        (&["pool", "run", "Not_a_name"], "Not_a_name"),
        (
            &["pool", "run", "ci", "--size", "1", "--sizes", "1..=2"],
            "--sizes",
        ),
        (&["pool", "run", "ci", "--sizes", "2..=1"], "such as 2..=20"),
        (&["pool", "run", "ci", "--max-age", "0s"], "above zero"),
        (&["pool", "rm"], "<NAME>"),
        (&["run", "--pool", "", "--", "true"], "pool"),
        (&["run", "--on-empty", "fail", "--", "true"], "--pool"),
        (
            &["run", "--pool", "ci", "--on-empty", "retry", "--", "true"],
            "create",
        ),
        (&["create", "--pool", "ci", "--id", "one"], "--id"),
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(word),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_pool_refuses_what_only_a_claim_can_give() {
    let cli = Cli::new();
    for (args, word) in [
        (&["pool", "run", "ci", "--size", "0"][..], "at least one"),
        (&["pool", "run", "ci", "--concurrency", "0"], "at least 1"),
        (
            &["run", "--pool", "ci", "--image", "other:1", "--", "true"],
            "exist already",
        ),
        (
            &["create", "--pool", "ci", "--disk", "1Gi"],
            "exist already",
        ),
        (
            &["create", "--pool", "ci", "--idle-timeout", "1m"],
            "exist already",
        ),
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains(word),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn help_says_how_the_parts_belong_together() {
    let cli = Cli::new();
    let help = stdout(&cli.run(["pool", "run", "--help"]));
    for part in ["sandbox run --pool", "SIGTERM", "--max-age", "--sizes"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}
