//! A sandbox from `create` to `rm`.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn a_created_sandbox_outlives_the_command() {
    let cli = Cli::new();
    let id = cli
        .expect_ok([
            "create", "--label", "team=ml", "--ttl", "1h", "-e", "MODE=ci",
        ])
        .trim_end()
        .to_owned();
    assert_eq!(cli.list_ids(), [id.as_str()]);
    assert_eq!(
        cli.expect_ok(["exec", &id, "--", "sh", "-c", "echo $MODE > kept; pwd"])
            .lines()
            .count(),
        1
    );
    assert_eq!(cli.expect_ok(["exec", &id, "cat", "kept"]), "ci\n");

    let table = cli.expect_ok(["ps"]);
    assert!(
        table.starts_with("ID ") && table.contains(&id) && table.contains("team=ml"),
        "{table}"
    );
    assert!(
        cli.expect_ok(["ls", "-q", "--label", "team=other"])
            .is_empty()
    );
    let info = cli.expect_ok(["inspect", &id]);
    assert!(
        info.contains("backend:    local") && info.contains("isolation:"),
        "{info}"
    );

    let list: serde_json::Value =
        serde_json::from_str(&cli.expect_ok(["ls", "-o", "json", "--label", "team=ml"])).unwrap();
    assert_eq!(list[0]["id"], id.as_str());
    let quiet = cli.expect_ok(["-q", "ls", "-o", "json"]);
    let quiet: serde_json::Value = serde_json::from_str(&quiet).unwrap();
    assert_eq!(quiet[0]["id"], id.as_str());
    let one: serde_json::Value =
        serde_json::from_str(&cli.expect_ok(["info", "-o", "json", &id])).unwrap();
    assert_eq!(one["labels"]["team"], "ml");

    assert_eq!(cli.expect_ok(["delete", &id]), format!("{id}\n"));
    assert!(cli.list_ids().is_empty());
    assert_eq!(cli.expect_ok(["ls", "-o", "json"]), "[]\n");
    let deleted = cli.run(["exec", &id, "--", "true"]);
    assert!(
        code(&deleted) == 125 && stderr(&deleted).contains(&format!("there is no sandbox {id}")),
        "{}",
        stderr(&deleted)
    );
}

#[test]
fn exec_has_the_exit_code_and_streams_of_the_command() {
    let cli = Cli::new();
    let id = cli.create();
    assert_eq!(code(&cli.run(["exec", &id, "--", "sh", "-c", "exit 9"])), 9);
    assert_eq!(code(&cli.run(["exec", &id, "nothing-of-this-name"])), 127);
    let output = cli.run_with_input(["exec", &id, "--", "tr", "a-z", "A-Z"], b"shout");
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "SHOUT"));
    let output = cli.run([
        "exec",
        "-e",
        "X=1",
        "-w",
        "/",
        &id,
        "sh",
        "-c",
        "echo $X; pwd",
    ]);
    assert_eq!(stdout(&output), "1\n/\n", "{}", stderr(&output));
}

#[test]
fn a_chosen_id_has_to_be_unused() {
    let cli = Cli::new();
    assert_eq!(cli.expect_ok(["create", "--id", "my-box"]), "my-box\n");
    let taken = cli.run(["create", "--id", "my-box"]);
    assert!(
        code(&taken) == 125 && stderr(&taken).contains("my-box already exists"),
        "{}",
        stderr(&taken)
    );
    assert_eq!(cli.list_ids(), ["my-box"]);
    let bad = cli.run(["create", "--id", "My Box"]);
    assert!(
        code(&bad) == 125 && stderr(&bad).contains("lower-case"),
        "{}",
        stderr(&bad)
    );
}

#[test]
fn files_are_copied_in_and_out() {
    let cli = Cli::new();
    let id = cli.create();
    let (home, file) = (
        format!("{id}:"),
        cli.write("data: one.bin", [0, 255, 10, 13]),
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).unwrap();
    cli.expect_ok(["cp", "./data: one.bin", &home]);
    assert_eq!(
        cli.expect_ok(["exec", &id, "--", "stat", "-c", "%a %s", "data: one.bin"]),
        "751 4\n"
    );
    cli.expect_ok(["cp", &format!("{id}:data: one.bin"), "back"]);
    assert_eq!(fs::read(cli.path("back")).unwrap(), [0, 255, 10, 13]);
    assert_eq!(
        fs::metadata(cli.path("back")).unwrap().permissions().mode() & 0o777,
        0o751
    );
    cli.expect_ok(["cp", &format!("{id}:data: one.bin"), "."]);

    let piped = cli.run_with_input(["cp", "-", &format!("{id}:piped")], b"from a pipe");
    assert_eq!(code(&piped), 0, "{}", stderr(&piped));
    assert_eq!(
        cli.expect_ok(["cp", &format!("{id}:piped"), "-"]),
        "from a pipe"
    );
    assert_eq!(
        cli.expect_ok(["cp", "--resume", "back", &format!("{id}:again")]),
        ""
    );
    assert_eq!(
        cli.expect_ok(["exec", &id, "--", "stat", "-c", "%s", "again"]),
        "4\n"
    );

    for (args, word) in [
        (["cp", "missing", &home], "No such file"),
        (
            ["cp", &format!("{id}:missing"), "."],
            "there is no file or directory \"missing\"",
        ),
        (
            ["cp", "back", &format!("{id}:nowhere/")],
            "there is no directory",
        ),
        (
            ["cp", &format!("{id}:data: one.bin"), "nowhere/"],
            "there is no directory",
        ),
    ] {
        let output = cli.run(args);
        assert!(
            code(&output) == 125 && stderr(&output).contains(word),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn trees_are_copied_as_by_docker() {
    let cli = Cli::new();
    let id = cli.create();
    cli.write("tree/sub/deep/a", "A");
    cli.write("tree/-b c\n", "B");
    std::os::unix::fs::symlink("sub/deep/a", cli.path("tree/link")).unwrap();
    let listing = |path: &str| {
        let find = format!("cd {path} && find . -print0 | LC_ALL=C sort -z | tr '\\0' '|'");
        cli.expect_ok(["exec", &id, "--", "sh", "-c", &find])
    };

    // The first copy creates `copy`; the second is placed in the existing directory.
    cli.expect_ok(["cp", "tree", &format!("{id}:copy")]);
    cli.expect_ok(["cp", "tree", &format!("{id}:copy")]);
    cli.expect_ok(["cp", "tree/.", &format!("{id}:content")]);
    let plain = ".|./-b c\n|./link|./sub|./sub/deep|./sub/deep/a|";
    assert_eq!(listing("content"), plain);
    assert_eq!(listing("copy/tree"), plain);
    assert_eq!(
        cli.expect_ok(["exec", &id, "--", "readlink", "copy/link"]),
        "sub/deep/a\n"
    );

    cli.expect_ok(["cp", &format!("{id}:content"), "out"]);
    cli.expect_ok(["cp", &format!("{id}:content"), "out"]);
    cli.expect_ok(["cp", &format!("{id}:content/."), "inner"]);
    for place in ["out", "out/content", "inner"] {
        assert_eq!(
            fs::read(cli.path(place).join("sub/deep/a")).unwrap(),
            b"A",
            "{place}"
        );
        assert_eq!(
            fs::read(cli.path(place).join("-b c\n")).unwrap(),
            b"B",
            "{place}"
        );
        assert_eq!(
            fs::read_link(cli.path(place).join("link"))
                .unwrap()
                .to_str(),
            Some("sub/deep/a")
        );
    }

    cli.write("plain", "");
    let onto_file = cli.run(["cp", &format!("{id}:content"), "plain"]);
    assert!(
        code(&onto_file) == 125 && stderr(&onto_file).contains("which is a file on this machine"),
        "{}",
        stderr(&onto_file)
    );
}

#[test]
fn resume_supports_only_single_files() {
    let cli = Cli::new();
    let id = cli.create();
    cli.write("tree/a", "A");
    // -r and -a are accepted and have no effect, because trees are always copied.
    cli.expect_ok(["cp", "-r", "tree", &format!("{id}:tree")]);
    cli.expect_ok(["cp", "-a", &format!("{id}:tree"), "back"]);
    assert_eq!(fs::read(cli.path("back/a")).unwrap(), b"A");
    let inside = |path: &str| format!("{id}:{path}");
    for (from, to, expected) in [
        ("tree", inside("again"), "is a directory"),
        (&inside("tree"), "again".to_owned(), "is a directory"),
        ("-", inside("again"), "in place of -"),
        (&inside("tree/a"), "-".to_owned(), "in place of -"),
    ] {
        let output = cli.run(["cp", "--resume", from, &to]);
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (125, ""),
            "{from} {to}"
        );
        assert!(
            stderr(&output).contains("--resume") && stderr(&output).contains(expected),
            "{}",
            stderr(&output)
        );
    }
    assert!(!cli.expect_ok(["exec", &id, "ls"]).contains("again") && !cli.path("again").exists());
    cli.expect_ok(["cp", "--resume", "tree/a", &inside("one")]);
    assert_eq!(cli.expect_ok(["exec", &id, "cat", "one"]), "A");
}

#[test]
fn extend_postpones_the_end_or_sets_it() {
    let cli = Cli::new();
    cli.expect_ok(["create", "--name", "short", "--ttl", "10m"]);
    let ends = || {
        let info: serde_json::Value =
            serde_json::from_str(&cli.expect_ok(["info", "-o", "json", "short"])).unwrap();
        info["expires_at"].as_str().unwrap().to_owned()
    };
    let before = ends();
    let output = cli.run(["extend", "short", "2h"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(stdout(&output), format!("{}\n", ends()));
    assert!(ends() > before, "{before}");
    let too_far = cli.run(["extend", "short", "48h"]);
    assert!(
        code(&too_far) == 0 && stderr(&too_far).contains("its maximum lifetime"),
        "{}",
        stderr(&too_far)
    );
    let before = ends();
    let output = cli.run(["extend", "short", "5m", "--exactly"]);
    assert_eq!(stdout(&output), format!("{}\n", ends()));
    assert!(code(&output) == 0 && ends() < before, "{before}");
    for args in [["extend", "sbx-none", "1h"], ["extend", "short", "soon"]] {
        assert_eq!(code(&cli.run(args)), 125, "{args:?}");
    }
}

#[test]
fn rm_deletes_several_and_a_typo_deletes_none() {
    let cli = Cli::new();
    let (a, b) = (cli.create(), cli.create());
    let slip = cli.run(["rm", &a, "SLIP"]);
    assert_eq!((code(&slip), cli.list_ids().len()), (125, 2));
    let output = cli.run(["rm", "-f", &a, "sbx-none", &b]);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, "sandbox: there is no sandbox sbx-none\n")
    );
    assert_eq!(
        stdout(&output),
        format!("{a}\n{b}\n"),
        "only the ids that were deleted are printed"
    );
    assert!(cli.list_ids().is_empty());
}

#[test]
fn file_names_from_a_sandbox_are_escaped() {
    let cli = Cli::new();
    let id = cli.create();
    let script = "mkdir tree && touch \"$(printf 'tree/\\033[2Jx')\" && mkfifo \"$(printf 'tree/\\033[31mpipe')\"";
    cli.expect_ok(["exec", &id, "--", "sh", "-c", script]);
    let output = cli.run(["cp", &format!("{id}:tree"), "out"]);
    assert!(
        stderr(&output).contains("skipped") && !stderr(&output).contains('\u{1b}'),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_interrupted_copy_leaves_no_partial_file() {
    let cli = Cli::new();
    let id = cli.create();
    let mut copy = cli
        .command(["cp", "-", &format!("{id}:big")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = copy.stdin.take().unwrap();
    input.write_all(&vec![7; 4 << 20]).unwrap();
    let inside = || cli.expect_ok(["exec", &id, "--", "ls", "-A"]);
    while !inside().contains(".big.sandbox-") {
        assert!(copy.try_wait().unwrap().is_none(), "it waits for the rest");
    }
    kill_process(Pid::from_child(&copy), Signal::INT).unwrap();
    assert_eq!(copy.wait().unwrap().code(), Some(130));
    assert!(!inside().contains("big"), "{}", inside());
}

#[test]
fn a_paused_sandbox_runs_nothing_until_it_is_resumed() {
    let cli = Cli::new();
    let id = cli.create();
    let state = || {
        let info: serde_json::Value =
            serde_json::from_str(&cli.expect_ok(["info", "-o", "json", &id])).unwrap();
        (info["state"].clone(), info["paused"] == true)
    };
    assert_eq!(state(), ("running".into(), false));
    assert_eq!(cli.expect_ok(["pause", &id]), format!("{id}\n"));
    assert_eq!(state(), ("running".into(), true));
    assert!(cli.expect_ok(["ls"]).contains("paused"));
    let again = cli.run(["pause", &id]);
    assert_eq!(
        (code(&again), stderr(&again).as_str()),
        (0, "sandbox: it was paused already\n")
    );
    let refused = cli.run(["exec", &id, "true"]);
    assert_eq!(code(&refused), 126);
    assert!(
        stderr(&refused).contains("the sandbox is paused; resume it first (sandbox resume)"),
        "{}",
        stderr(&refused)
    );
    fs::write(cli.path("file"), "text").unwrap();
    cli.expect_ok(["cp", "file", &format!("{id}:file")]);

    assert_eq!(
        cli.expect_ok(["resume", "--ttl", "1h", &id]),
        format!("{id}\n")
    );
    assert_eq!(cli.expect_ok(["exec", &id, "cat", "file"]), "text");
    assert_eq!(state(), ("running".into(), false));
    let again = cli.run(["resume", &id]);
    assert_eq!(
        (code(&again), stderr(&again).as_str()),
        (0, "sandbox: it was not paused\n")
    );
}
