//! Copies to what exists already, and copies that are incomplete.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};

use crate::support::{Cli, code, stderr};

#[test]
fn a_file_from_stdin_keeps_the_mode_of_the_one_that_it_replaces() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "echo old > run.sh; chmod 755 run.sh; mkfifo fifo";
    cli.expect_ok(["exec", &id, "--", "sh", "-c", script]);
    let input = b"#!/bin/sh\necho two\n";
    let copy = cli.run_with_input(["cp", "-", &format!("{id}:run.sh")], input);
    assert_eq!(code(&copy), 0, "{}", stderr(&copy));
    assert_eq!(cli.expect_ok(["exec", &id, "--", "./run.sh"]), "two\n");
    let copy = cli.run_with_input(["cp", "-", &format!("{id}:/dev/null")], input);
    assert_eq!(code(&copy), 0, "{}", stderr(&copy));
}

#[test]
fn a_local_fifo_link_or_device_stays_what_it_is() {
    let cli = Cli::new();
    let id = cli.create();
    cli.expect_ok(["exec", &id, "--", "sh", "-c", "echo content > f"]);
    let remote = format!("{id}:f");
    let fifo = cli.path("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.unwrap().success());
    let reader = fifo.clone();
    let reading = std::thread::spawn(move || fs::read_to_string(reader).unwrap());
    cli.expect_ok(["cp", &remote, "fifo"]);
    assert_eq!(reading.join().unwrap(), "content\n");
    assert!(fifo.symlink_metadata().unwrap().file_type().is_fifo());
    symlink("target", cli.path("link")).unwrap();
    cli.expect_ok(["cp", &remote, "link"]);
    assert_eq!(fs::read_to_string(cli.path("target")).unwrap(), "content\n");
    cli.expect_ok(["cp", &remote, "/dev/null"]);
    let kind = fs::symlink_metadata("/dev/null").unwrap().file_type();
    assert!(kind.is_char_device());
    // The standard output of the test is a pipe.
    assert_eq!(cli.expect_ok(["cp", &remote, "/dev/stdout"]), "content\n");
}

#[test]
fn an_incomplete_copy_of_a_tree_has_its_own_exit_code() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "mkdir tree; for n in $(seq 30); do echo x > tree/no$n; done; chmod 0 tree/*; \
                  echo x > tree/yes; cat tree/no1";
    let made = cli.run(["exec", &id, "--", "sh", "-c", script]);
    if code(&made) == 0 {
        return; // Root can read everything.
    }
    let copy = cli.run(["cp", &format!("{id}:tree"), "out"]);
    let text = stderr(&copy);
    assert_eq!(code(&copy), 23, "{text}");
    assert!(
        text.contains("could not copy \"no") && text.contains("permission denied"),
        "{text}"
    );
    assert!(
        text.contains("30 could not be copied, of which 10 are not shown"),
        "{text}"
    );
    assert_eq!(fs::read_to_string(cli.path("out/yes")).unwrap(), "x\n");
}

#[test]
fn a_download_is_limited() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "truncate -s 8T huge; echo 123456789 > ten; chmod 666 ten";
    cli.expect_ok(["exec", &id, "--", "sh", "-c", script]);
    for args in [
        ["cp", &format!("{id}:huge"), "."],
        ["cp", &format!("{id}:huge"), "-"],
    ] {
        let copy = cli.run(args);
        assert_eq!(code(&copy), 125);
        assert!(stderr(&copy).contains("are allowed"), "{}", stderr(&copy));
        assert!(copy.stdout.is_empty());
    }
    let copy = cli.run(["cp", "--max-size", "9", &format!("{id}:ten"), "."]);
    assert!(stderr(&copy).contains("at most 9"), "{}", stderr(&copy));
    cli.expect_ok(["cp", "--max-size", "1k", &format!("{id}:ten"), "."]);
    let mode = fs::metadata(cli.path("ten")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o664, "other users cannot write to it");
}

#[test]
fn a_slash_after_a_file_is_named() {
    let cli = Cli::new();
    let id = cli.create();
    cli.expect_ok(["exec", &id, "--", "touch", "file"]);
    cli.write("local", "x");
    let remote = format!("{id}:file/");
    for args in [["cp", &remote, "."], ["cp", "local", &remote]] {
        let copy = cli.run(args);
        assert_eq!(code(&copy), 125);
        assert!(
            stderr(&copy).contains("is not a directory: leave out the slash"),
            "{}",
            stderr(&copy)
        );
    }
    // What does not exist either way is reported as it was given.
    let copy = cli.run(["cp", &format!("{id}:none/"), "."]);
    assert!(
        stderr(&copy).contains("no file or directory \"none/\""),
        "{}",
        stderr(&copy)
    );
}
