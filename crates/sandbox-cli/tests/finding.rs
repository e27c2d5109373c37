//! Which sandboxes a command means, and how they are listed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader};

use support::{Cli, code, stderr, stdout};

#[test]
fn the_beginning_of_a_generated_id_is_enough_where_it_is_unique() {
    let cli = Cli::new();
    for id in ["sbx-ape0000000", "sbx-apr0000000", "sbx-yam0000000"] {
        cli.ok(["create", "--id", id]);
    }
    assert_eq!(cli.ok(["exec", "sbx-y", "echo", "one"]), "one\n");
    assert!(cli.ok(["info", "sbx-ape"]).contains("sbx-ape0000000"));
    let several = cli.output(["exec", "sbx-ap", "true"]);
    assert!(
        code(&several) == 125
            && stderr(&several).contains("2 ids begin with it: sbx-ape0000000, sbx-apr0000000"),
        "{}",
        stderr(&several)
    );
    for nothing in ["sbx-q", "sbx", "s"] {
        let none = cli.output(["exec", nothing, "true"]);
        let said = format!("there is no sandbox {nothing}");
        assert!(
            code(&none) == 125 && stderr(&none).contains(&said),
            "{}",
            stderr(&none)
        );
    }
    // What is ambiguous removes nothing, not even what stands beside it.
    assert_eq!(code(&cli.output(["rm", "sbx-yam", "sbx-ap"])), 125);
    assert_eq!(cli.ids().len(), 3);
}

#[test]
fn a_name_is_meant_as_a_whole() {
    let cli = Cli::new();
    for id in ["plum", "plum-2", "sbx-prod-eu-01"] {
        cli.ok(["create", "--id", id]);
    }
    let unfinished = cli.output(["exec", "plu", "true"]);
    assert!(
        stderr(&unfinished).contains("there is no sandbox plu"),
        "{}",
        stderr(&unfinished)
    );
    assert_eq!(cli.ok(["rm", "plum"]), "plum\n");
    // Said once more, it removes nothing else.
    for gone in ["plum", "sbx-prod"] {
        let again = cli.output(["rm", gone]);
        assert_eq!((code(&again), stdout(&again).as_str()), (0, ""));
        assert!(
            stderr(&again).contains(&format!("there is no sandbox {gone}")),
            "{}",
            stderr(&again)
        );
    }
    assert_eq!(cli.ids(), ["plum-2", "sbx-prod-eu-01"]);
}

#[test]
fn many_are_removed_by_label_or_all_at_once() {
    let cli = Cli::new();
    cli.ok(["create", "--id", "one", "--label", "team=ml"]);
    cli.ok(["create", "--id", "two", "--label", "team=ml"]);
    cli.ok(["create", "--id", "three"]);
    assert_eq!(cli.ok(["rm", "--label", "team=ml"]), "one\ntwo\n");
    assert_eq!(cli.ids(), ["three"]);
    let unasked = cli.output(["rm", "--all"]);
    assert!(
        code(&unasked) == 125 && stderr(&unasked).contains("add --force"),
        "{}",
        stderr(&unasked)
    );
    cli.ok(["rm", "--all", "--force"]);
    assert!(cli.ids().is_empty());
    cli.ok(["rm", "--all"]);
}

#[test]
fn lists_have_several_forms() {
    let cli = Cli::new();
    let id = cli.create();
    assert_eq!(cli.ok(["ls", "-o", "name"]), format!("{id}\n"));
    let wide = cli.ok(["ls", "-o", "wide"]);
    assert!(
        wide.contains("ISOLATION") && wide.contains("ssh.sock"),
        "{wide}"
    );
}

#[test]
fn a_list_can_be_watched() {
    let cli = Cli::new();
    let first = cli.create();
    let mut watch = cli.spawn(["ls", "--watch", "-o", "name"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert_eq!(lines.next(), Some(first));
    let second = cli.create();
    assert_eq!(lines.next(), Some(second.clone()));
    cli.ok(["rm", &second]);
    assert_eq!(lines.next(), Some(second));
    watch.kill().unwrap();
    watch.wait().unwrap();
}
