//! How ids are resolved, and how sandboxes are listed.

#![cfg(unix)]

use std::io::{BufRead, BufReader};

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn a_unique_prefix_of_a_generated_id_is_enough() {
    let cli = Cli::new();
    for id in ["sbx-ape0000000", "sbx-apr0000000", "sbx-yam0000000"] {
        cli.expect_ok(["create", "--id", id]);
    }
    assert_eq!(cli.expect_ok(["exec", "sbx-y", "echo", "one"]), "one\n");
    assert!(
        cli.expect_ok(["info", "sbx-ape"])
            .contains("sbx-ape0000000")
    );
    let several = cli.run(["exec", "sbx-ap", "true"]);
    assert!(
        code(&several) == 125
            && stderr(&several).contains("2 ids begin with it: sbx-ape0000000, sbx-apr0000000"),
        "{}",
        stderr(&several)
    );
    for nothing in ["sbx-q", "sbx", "s"] {
        let none = cli.run(["exec", nothing, "true"]);
        let message = format!("there is no sandbox {nothing}");
        assert!(
            code(&none) == 125 && stderr(&none).contains(&message),
            "{}",
            stderr(&none)
        );
    }
    // An ambiguous id deletes nothing, not even the other arguments.
    assert_eq!(code(&cli.run(["rm", "sbx-yam", "sbx-ap"])), 125);
    assert_eq!(cli.list_ids().len(), 3);
}

#[test]
fn a_chosen_id_has_to_be_complete() {
    let cli = Cli::new();
    for id in ["plum", "plum-2", "sbx-prod-eu-01"] {
        cli.expect_ok(["create", "--id", id]);
    }
    let unfinished = cli.run(["exec", "plu", "true"]);
    assert!(
        stderr(&unfinished).contains("there is no sandbox plu"),
        "{}",
        stderr(&unfinished)
    );
    assert_eq!(cli.expect_ok(["rm", "plum"]), "plum\n");
    // A second `rm plum` does not delete plum-2.
    for missing in ["plum", "sbx-prod"] {
        let output = cli.run(["rm", missing]);
        assert_eq!((code(&output), stdout(&output).as_str()), (0, ""));
        assert!(
            stderr(&output).contains(&format!("there is no sandbox {missing}")),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(cli.list_ids(), ["plum-2", "sbx-prod-eu-01"]);
}

#[test]
fn sandboxes_are_deleted_by_label_or_all_at_once() {
    let cli = Cli::new();
    cli.expect_ok(["create", "--id", "one", "--label", "team=ml"]);
    cli.expect_ok(["create", "--id", "two", "--label", "team=ml"]);
    cli.expect_ok(["create", "--id", "three"]);
    assert_eq!(cli.expect_ok(["rm", "--label", "team=ml"]), "one\ntwo\n");
    assert_eq!(cli.list_ids(), ["three"]);
    let unasked = cli.run(["rm", "--all"]);
    assert!(
        code(&unasked) == 125 && stderr(&unasked).contains("add --force"),
        "{}",
        stderr(&unasked)
    );
    cli.expect_ok(["rm", "--all", "--force"]);
    assert!(cli.list_ids().is_empty());
    cli.expect_ok(["rm", "--all"]);
}

#[test]
fn ls_has_several_formats() {
    let cli = Cli::new();
    let id = cli.create();
    assert_eq!(cli.expect_ok(["ls", "-o", "name"]), format!("{id}\n"));
    let wide = cli.expect_ok(["ls", "-o", "wide"]);
    assert!(
        wide.contains("ISOLATION") && wide.contains("ssh.sock"),
        "{wide}"
    );
}

#[test]
fn ls_watch_prints_changes() {
    let cli = Cli::new();
    let first = cli.create();
    let mut watch = cli.spawn(["ls", "--watch", "-o", "name"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert_eq!(lines.next(), Some(first));
    let second = cli.create();
    assert_eq!(lines.next(), Some(second.clone()));
    cli.expect_ok(["rm", &second]);
    assert_eq!(lines.next(), Some(second));
    watch.kill().unwrap();
    watch.wait().unwrap();
}
