//! Names that are not UTF-8, in every place that takes a name.

#![cfg(unix)]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use sandbox_testkit::peers::OPENSSH;

use crate::support::{Cli, code, stderr, stdout};

/// A name in Latin-1.
const LATIN1: &[u8] = b"caf\xe9";

fn os(parts: &[&[u8]]) -> OsString {
    OsString::from_vec(parts.concat())
}

/// A path in the working directory of the command.
fn local(cli: &Cli, name: &[u8]) -> PathBuf {
    cli.path("x").with_file_name(OsStr::from_bytes(name))
}

#[test]
fn files_and_trees_are_copied() {
    let cli = Cli::new();
    let id = cli.create();
    let inside = |path: &[u8]| os(&[id.as_bytes(), b":", path]);
    let copy = |from: OsString, to: OsString| cli.expect_ok([OsString::from("cp"), from, to]);
    let tree = local(&cli, b"tree");
    fs::create_dir_all(tree.join(OsStr::from_bytes(LATIN1))).unwrap();
    let file = tree.join(OsStr::from_bytes(b"caf\xe9/\xff"));
    fs::write(file, "content").unwrap();
    std::os::unix::fs::symlink(OsStr::from_bytes(b"\xfe"), tree.join("link")).unwrap();

    // A tree, as a whole, and as the source that gives the copy its name.
    copy("tree".into(), inside(b"copy"));
    copy(inside(b"copy"), "back".into());
    copy(inside(b"copy/caf\xe9"), ".".into());
    copy(os(&[LATIN1]), inside(b"copy"));
    for found in [&b"back/caf\xe9/\xff"[..], b"caf\xe9/\xff"] {
        assert_eq!(fs::read(local(&cli, found)).unwrap(), b"content");
    }
    let link = fs::read_link(local(&cli, b"back/link")).unwrap();
    assert_eq!(link.as_os_str(), OsStr::from_bytes(b"\xfe"));

    // Single files, in each direction, also resumable and over stdout.
    copy(inside(b"copy/caf\xe9/\xff"), "one".into());
    copy(inside(b"copy/caf\xe9/\xff"), ".".into());
    copy(os(&[b"\xff"]), inside(b"up"));
    copy(os(&[b"\xff"]), inside(b"copy"));
    cli.expect_ok([
        OsString::from("cp"),
        "--resume".into(),
        os(&[b"\xff"]),
        inside(b"caf\xe9"),
    ]);
    cli.expect_ok([
        OsString::from("cp"),
        "--resume".into(),
        inside(b"caf\xe9"),
        os(&[b"resumed\xe9"]),
    ]);
    let resumed = fs::read(local(&cli, b"resumed\xe9")).unwrap();
    assert_eq!(resumed, b"content");
    let streamed = copy(inside(b"copy/\xff"), "-".into());
    assert_eq!(streamed, "content");

    // What is reported about such a name is escaped.
    let missing = cli.run([OsString::from("cp"), inside(b"no\xe9"), ".".into()]);
    assert_eq!(code(&missing), 125);
    assert!(
        stderr(&missing).contains(r#""no\xe9""#),
        "{}",
        stderr(&missing)
    );
    let missing = cli.run([OsString::from("cp"), os(&[b"no\xe9"]), inside(b".")]);
    assert!(
        stderr(&missing).contains(r#""no\xe9""#),
        "{}",
        stderr(&missing)
    );
}

#[test]
fn commands_are_run() {
    let cli = Cli::new();
    let id = cli.create();
    let exec = |words: &[&[u8]]| {
        let args = [b"exec", id.as_bytes(), b"--"];
        let words = args.iter().chain(words).map(|word| os(&[word]));
        cli.run(words)
    };
    let run = |words: &[&[u8]]| {
        let output = exec(words);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        output.stdout
    };
    run(&[b"mkdir", LATIN1]);
    run(&[b"cp", b"/bin/echo", b"caf\xe9/\xff"]);
    assert_eq!(run(&[b"caf\xe9/\xff", b"\xe8"]), b"\xe8\n");
    let directory = cli.run([
        os(&[b"exec"]),
        os(&[b"-w"]),
        os(&[LATIN1]),
        os(&[id.as_bytes()]),
        os(&[b"ls"]),
    ]);
    assert_eq!(directory.stdout, b"\xff\n", "{}", stderr(&directory));
    let missing = exec(&[b"./no\xe9"]);
    assert!(
        code(&missing) == 127 && stderr(&missing).contains(r"./no\xe9"),
        "{}",
        stderr(&missing)
    );
    // A job has the name of its program, also in JSON, where it can be read back.
    cli.expect_ok([
        os(&[b"exec"]),
        os(&[b"-d"]),
        os(&[id.as_bytes()]),
        os(&[b"caf\xe9/\xff"]),
    ]);
    let table = cli.expect_ok(["jobs", &id]);
    assert!(table.contains(r"caf\xe9/\xff"), "{table}");
    let json = cli.expect_ok(["jobs", "-o", "json", &id]);
    let jobs: Vec<sandbox::JobRecord> = serde_json::from_str(&json).unwrap();
    assert_eq!(jobs[0].program.as_bytes(), b"caf\xe9/\xff");
}

#[test]
fn openssh_copies_trees() {
    if !OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let host = cli.install_ssh_config("");
    let up = local(&cli, b"up");
    fs::create_dir_all(&up).unwrap();
    fs::write(up.join(OsStr::from_bytes(LATIN1)), "x").unwrap();
    for (from, to) in [
        ("up", format!("{host}:up").as_str()),
        (format!("{host}:up").as_str(), "down"),
    ] {
        let copied = cli.run_openssh("scp", &["-q", "-r", from, to]);
        assert!(
            copied.status.success(),
            "{}{}",
            stdout(&copied),
            stderr(&copied)
        );
    }
    assert_eq!(fs::read(local(&cli, b"down/caf\xe9")).unwrap(), b"x");
}
