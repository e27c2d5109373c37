//! OpenSSH's tools, rsync and git, by the name `<id>.sandbox`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::{Command, Stdio};

use sandbox_testkit::peers;
use support::{Cli, code, stderr, stdout};

/// What somebody may have said for all hosts. None of it may count for a sandbox.
const HOSTILE: &str = "Host *\n  User root\n  Port 2222\n  HostName example.invalid\n  ProxyJump bastion.invalid\n  \
    StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  IdentityFile ~/.ssh/other\n  ForwardAgent yes\n  \
    ForwardX11 yes\n  ControlMaster auto\n  ControlPath ~/.ssh/shared\n  PubkeyAuthentication no\n  \
    PreferredAuthentications password\n  RemoteCommand true\n  HostKeyAlgorithms rsa-sha2-512\n";

fn id(host: &str) -> &str {
    host.trim_end_matches(".sandbox")
}

#[test]
fn ssh_scp_and_sftp_reach_a_sandbox_whatever_is_said_for_all_hosts() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    let host = cli.installed(HOSTILE);
    let output = cli.tool("ssh", &[&host, "echo $((6 * 7)); exit 3"]);
    assert_eq!(
        (stdout(&output).as_str(), code(&output)),
        ("42\n", 3),
        "{}",
        stderr(&output)
    );

    cli.write("data", "some bytes");
    let output = cli.tool("scp", &["-q", "data", &format!("{host}:copied")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.write("batch", "get copied back\n");
    let output = cli.tool("sftp", &["-q", "-b", "batch", &host]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(fs::read(cli.path("back")).unwrap(), b"some bytes");

    assert!(
        fs::read_to_string(cli.ssh_config())
            .unwrap()
            .ends_with(HOSTILE),
        "what was there stays"
    );
    assert_eq!(
        cli.ok(["ssh", id(&host), "--", "echo", "directly"]),
        "directly\n"
    );
}

#[test]
fn rsync_and_git_work_as_with_any_host() {
    if !peers::OPENSSH.is_here() || !peers::RSYNC.is_here() || !peers::GIT.is_here() {
        return;
    }
    let cli = Cli::new();
    let host = cli.installed(HOSTILE);
    // Whatever is said for all hosts.
    let shell = format!("ssh -F {}", cli.ssh_config().display());
    cli.write("tree/a/b", "deep");
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(cli.path(""))
            .env("GIT_SSH_COMMAND", &shell)
            .env("HOME", cli.home());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), 0, "{program} {args:?}: {}", stderr(&output));
        stdout(&output)
    };
    run(
        "rsync",
        &["-a", "-e", &shell, "tree/", &format!("{host}:synced")],
    );
    run(
        "rsync",
        &["-a", "-e", &shell, &format!("{host}:synced/"), "returned"],
    );
    assert_eq!(fs::read(cli.path("returned/a/b")).unwrap(), b"deep");

    cli.ok([
        "exec",
        id(&host),
        "--",
        "git",
        "init",
        "--quiet",
        "--bare",
        "repository",
    ]);
    run("git", &["init", "--quiet", "--initial-branch=main", "work"]);
    cli.write("work/file", "tracked");
    let git = |args: &[&str]| {
        run(
            "git",
            &[
                &["-C", "work", "-c", "user.name=t", "-c", "user.email=t@t"],
                args,
            ]
            .concat(),
        )
    };
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "one"]);
    git(&["push", "--quiet", &format!("{host}:repository"), "main"]);
    run(
        "git",
        &[
            "clone",
            "--quiet",
            "--branch=main",
            &format!("{host}:repository"),
            "cloned",
        ],
    );
    assert_eq!(fs::read(cli.path("cloned/file")).unwrap(), b"tracked");
}

#[test]
fn a_sandbox_that_is_gone_is_told_to_ssh() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    let host = cli.installed("");
    let removed = cli
        .command(["rm", id(&host)])
        .env("HOME", cli.path(""))
        .output()
        .unwrap();
    assert_eq!(code(&removed), 0);
    let output = cli.tool("ssh", &[&host, "true"]);
    assert_eq!(code(&output), 255);
    assert!(
        stderr(&output).contains(&format!("there is no sandbox {}", id(&host))),
        "{}",
        stderr(&output)
    );
}
