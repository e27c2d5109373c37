//! Which sandboxes a command means, and how they are listed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::{BufRead, BufReader};

use support::{Cli, code, stderr};

#[test]
fn the_beginning_of_an_id_is_enough_where_it_is_unique() {
    let cli = Cli::new();
    for id in ["apple", "apricot", "plum"] {
        cli.ok(["create", "--id", id]);
    }
    assert_eq!(cli.ok(["exec", "pl", "echo", "one"]), "one\n");
    assert!(cli.ok(["info", "app"]).contains("apple"));
    let several = cli.output(["exec", "ap", "true"]);
    assert!(
        code(&several) == 125 && stderr(&several).contains("beginning of 2 ids: apple, apricot"),
        "{}",
        stderr(&several)
    );
    let none = cli.output(["exec", "q", "true"]);
    assert!(code(&none) == 125 && stderr(&none).contains("there is no sandbox q"), "{}", stderr(&none));

    // A whole id is meant, even if another one begins with it.
    cli.ok(["create", "--id", "plum-2"]);
    cli.ok(["rm", "plum"]);
    assert_eq!(cli.ok(["ls", "-q"]).lines().count(), 3);
    // What is ambiguous removes nothing, not even what stands beside it.
    assert_eq!(code(&cli.output(["rm", "plum-2", "ap"])), 125);
    assert_eq!(cli.ids().len(), 3);
}

#[test]
fn many_are_removed_by_label_or_all_at_once() {
    let cli = Cli::new();
    cli.ok(["create", "--id", "one", "--label", "team=ml"]);
    cli.ok(["create", "--id", "two", "--label", "team=ml"]);
    cli.ok(["create", "--id", "three"]);
    cli.ok(["rm", "--label", "team=ml"]);
    assert_eq!(cli.ids(), ["three"]);
    let unasked = cli.output(["rm", "--all"]);
    assert!(code(&unasked) == 125 && stderr(&unasked).contains("add --force"), "{}", stderr(&unasked));
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
    assert!(wide.contains("ISOLATION") && wide.contains("ssh.sock"), "{wide}");
}

#[test]
fn a_list_can_be_watched() {
    let cli = Cli::new();
    let first = cli.create();
    let mut watch = cli.spawn(["ls", "--watch", "-o", "name"]);
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next(), Some(first));
    let second = cli.create();
    assert_eq!(lines.next(), Some(second.clone()));
    cli.ok(["rm", &second]);
    assert_eq!(lines.next(), Some(second));
    watch.kill().unwrap();
    watch.wait().unwrap();
}
