//! A sandbox from `create` to `rm`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use support::{Cli, code, stderr, stdout};

#[test]
fn it_outlives_its_maker_and_is_found_again() {
    let cli = Cli::new();
    let id = cli
        .ok([
            "create", "--label", "team=ml", "--ttl", "1h", "-e", "MODE=ci",
        ])
        .trim_end()
        .to_owned();
    assert_eq!(cli.ids(), [id.as_str()]);
    assert_eq!(
        cli.ok(["exec", &id, "--", "sh", "-c", "echo $MODE > kept; pwd"])
            .lines()
            .count(),
        1
    );
    assert_eq!(cli.ok(["exec", &id, "cat", "kept"]), "ci\n");

    let table = cli.ok(["ps"]);
    assert!(
        table.starts_with("ID ") && table.contains(&id) && table.contains("team=ml"),
        "{table}"
    );
    assert!(cli.ok(["ls", "-q", "--label", "team=other"]).is_empty());
    let info = cli.ok(["inspect", &id]);
    assert!(
        info.contains("backend:    local") && info.contains("isolation:"),
        "{info}"
    );

    let list: serde_json::Value =
        serde_json::from_str(&cli.ok(["ls", "-o", "json", "--label", "team=ml"])).unwrap();
    assert_eq!(list[0]["id"], id.as_str());
    let one: serde_json::Value =
        serde_json::from_str(&cli.ok(["info", "-o", "json", &id])).unwrap();
    assert_eq!(one["labels"]["team"], "ml");

    assert_eq!(cli.ok(["delete", &id]), format!("{id}\n"));
    assert!(cli.ids().is_empty());
    assert_eq!(cli.ok(["ls", "-o", "json"]), "[]\n");
    let gone = cli.output(["exec", &id, "--", "true"]);
    assert!(
        code(&gone) == 125 && stderr(&gone).contains(&format!("there is no sandbox {id}")),
        "{}",
        stderr(&gone)
    );
}

#[test]
fn exec_has_the_commands_code_and_streams() {
    let cli = Cli::new();
    let id = cli.create();
    assert_eq!(
        code(&cli.output(["exec", &id, "--", "sh", "-c", "exit 9"])),
        9
    );
    assert_eq!(
        code(&cli.output(["exec", &id, "nothing-of-this-name"])),
        127
    );
    let output = cli.output_with_input(["exec", &id, "--", "tr", "a-z", "A-Z"], b"shout");
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "SHOUT"));
    let output = cli.output([
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
fn an_id_can_be_chosen_once() {
    let cli = Cli::new();
    assert_eq!(cli.ok(["create", "--id", "my-box"]), "my-box\n");
    let again = cli.output(["create", "--id", "my-box"]);
    assert!(
        code(&again) == 125 && stderr(&again).contains("my-box already exists"),
        "{}",
        stderr(&again)
    );
    assert_eq!(cli.ids(), ["my-box"]);
    let bad = cli.output(["create", "--id", "My Box"]);
    assert!(
        code(&bad) == 125 && stderr(&bad).contains("lower-case"),
        "{}",
        stderr(&bad)
    );
}

#[test]
fn files_go_in_and_out() {
    let cli = Cli::new();
    let id = cli.create();
    let (home, file) = (
        format!("{id}:"),
        cli.write("data: one.bin", [0, 255, 10, 13]),
    );
    fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).unwrap();
    cli.ok(["cp", "./data: one.bin", &home]);
    assert_eq!(
        cli.ok(["exec", &id, "--", "stat", "-c", "%a %s", "data: one.bin"]),
        "751 4\n"
    );
    cli.ok(["cp", &format!("{id}:data: one.bin"), "back"]);
    assert_eq!(fs::read(cli.path("back")).unwrap(), [0, 255, 10, 13]);
    assert_eq!(
        fs::metadata(cli.path("back")).unwrap().permissions().mode() & 0o777,
        0o751
    );
    cli.ok(["cp", &format!("{id}:data: one.bin"), "."]);

    let piped = cli.output_with_input(["cp", "-", &format!("{id}:piped")], b"from a pipe");
    assert_eq!(code(&piped), 0, "{}", stderr(&piped));
    assert_eq!(cli.ok(["cp", &format!("{id}:piped"), "-"]), "from a pipe");
    assert_eq!(
        cli.ok(["cp", "--resume", "back", &format!("{id}:again")]),
        ""
    );
    assert_eq!(
        cli.ok(["exec", &id, "--", "stat", "-c", "%s", "again"]),
        "4\n"
    );

    for (args, word) in [
        (["cp", "missing", &home], "No such file"),
        (
            ["cp", &format!("{id}:missing"), "."],
            "there is no \"missing\"",
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
        let output = cli.output(args);
        assert!(
            code(&output) == 125 && stderr(&output).contains(word),
            "{args:?}: {}",
            stderr(&output)
        );
    }
}

#[test]
fn trees_go_in_and_out_as_with_docker() {
    let cli = Cli::new();
    let id = cli.create();
    cli.write("tree/sub/deep/a", "A");
    cli.write("tree/-b c\n", "B");
    std::os::unix::fs::symlink("sub/deep/a", cli.path("tree/link")).unwrap();
    let listing = |path: &str| {
        let find = format!("cd {path} && find . -print0 | LC_ALL=C sort -z | tr '\\0' '|'");
        cli.ok(["exec", &id, "--", "sh", "-c", &find])
    };

    // To a name that does not exist: under that name. To a directory: into it.
    cli.ok(["cp", "tree", &format!("{id}:copy")]);
    cli.ok(["cp", "tree", &format!("{id}:copy")]);
    cli.ok(["cp", "tree/.", &format!("{id}:content")]);
    let plain = ".|./-b c\n|./link|./sub|./sub/deep|./sub/deep/a|";
    assert_eq!(listing("content"), plain);
    assert_eq!(listing("copy/tree"), plain);
    assert_eq!(
        cli.ok(["exec", &id, "--", "readlink", "copy/link"]),
        "sub/deep/a\n"
    );

    cli.ok(["cp", &format!("{id}:content"), "out"]);
    cli.ok(["cp", &format!("{id}:content"), "out"]);
    cli.ok(["cp", &format!("{id}:content/."), "inner"]);
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
    let onto_file = cli.output(["cp", &format!("{id}:content"), "plain"]);
    assert!(
        code(&onto_file) == 125 && stderr(&onto_file).contains("is a file here"),
        "{}",
        stderr(&onto_file)
    );
}

#[test]
fn only_single_files_are_resumed() {
    let cli = Cli::new();
    let id = cli.create();
    cli.write("tree/a", "A");
    // As with cp and docker: trees are copied in any case.
    cli.ok(["cp", "-r", "tree", &format!("{id}:tree")]);
    cli.ok(["cp", "-a", &format!("{id}:tree"), "back"]);
    assert_eq!(fs::read(cli.path("back/a")).unwrap(), b"A");
    let inside = |path: &str| format!("{id}:{path}");
    for (from, to, said) in [
        ("tree", inside("again"), "is a directory"),
        (&inside("tree"), "again".to_owned(), "is a directory"),
        ("-", inside("again"), "in place of -"),
        (&inside("tree/a"), "-".to_owned(), "in place of -"),
    ] {
        let output = cli.output(["cp", "--resume", from, &to]);
        assert_eq!(
            (code(&output), stdout(&output).as_str()),
            (125, ""),
            "{from} {to}"
        );
        assert!(
            stderr(&output).contains("--resume") && stderr(&output).contains(said),
            "{}",
            stderr(&output)
        );
    }
    assert!(!cli.ok(["exec", &id, "ls"]).contains("again") && !cli.path("again").exists());
    cli.ok(["cp", "--resume", "tree/a", &inside("one")]);
    assert_eq!(cli.ok(["exec", &id, "cat", "one"]), "A");
}

#[test]
fn its_end_can_be_put_off() {
    let cli = Cli::new();
    cli.ok(["create", "--name", "short", "--ttl", "10m"]);
    let ends = || {
        let info: serde_json::Value =
            serde_json::from_str(&cli.ok(["info", "-o", "json", "short"])).unwrap();
        info["expires_at"].as_str().unwrap().to_owned()
    };
    let before = ends();
    let output = cli.output(["extend", "short", "2h"]);
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
    assert_eq!(stdout(&output), format!("{}\n", ends()));
    assert!(ends() > before, "{before}");
    let too_far = cli.output(["extend", "short", "48h"]);
    assert!(
        code(&too_far) == 0 && stderr(&too_far).contains("its longest life"),
        "{}",
        stderr(&too_far)
    );
    for args in [["extend", "sbx-none", "1h"], ["extend", "short", "soon"]] {
        assert_eq!(code(&cli.output(args)), 125, "{args:?}");
    }
}

#[test]
fn several_are_removed_at_once_and_a_slip_removes_none() {
    let cli = Cli::new();
    let (a, b) = (cli.create(), cli.create());
    let slip = cli.output(["rm", &a, "SLIP"]);
    assert_eq!((code(&slip), cli.ids().len()), (125, 2));
    let output = cli.output(["rm", "-f", &a, "sbx-none", &b]);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, "sandbox: there is no sandbox sbx-none\n")
    );
    assert_eq!(
        stdout(&output),
        format!("{a}\n{b}\n"),
        "what it removed, and nothing else"
    );
    assert!(cli.ids().is_empty());
}

#[test]
fn what_a_sandbox_says_cannot_reach_the_terminal() {
    let cli = Cli::new();
    let id = cli.create();
    let made = "mkdir tree && touch \"$(printf 'tree/\\033[2Jx')\" && mkfifo \"$(printf 'tree/\\033[31mpipe')\"";
    cli.ok(["exec", &id, "--", "sh", "-c", made]);
    let output = cli.output(["cp", &format!("{id}:tree"), "out"]);
    assert!(
        stderr(&output).contains("left out") && !stderr(&output).contains('\u{1b}'),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_copy_that_is_interrupted_leaves_nothing_half_written() {
    let cli = Cli::new();
    let id = cli.create();
    let mut copy = cli
        .command(["cp", "-", &format!("{id}:big")])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = copy.stdin.take().unwrap();
    input.write_all(&vec![7; 4 << 20]).unwrap();
    let inside = || cli.ok(["exec", &id, "--", "ls", "-A"]);
    while !inside().contains(".big.sandbox-") {
        assert!(copy.try_wait().unwrap().is_none(), "it waits for the rest");
    }
    kill_process(Pid::from_child(&copy), Signal::INT).unwrap();
    assert_eq!(copy.wait().unwrap().code(), Some(130));
    assert!(!inside().contains("big"), "{}", inside());
}
