//! OpenSSH's tools, rsync and git reach a sandbox as `<id>.sandbox`.

#![cfg(unix)]

use std::fs;
use std::process::{Command, Stdio};

use sandbox_testkit::peers;

use crate::support::{Cli, code, stderr, stdout};

/// Settings for all hosts in the user's configuration. None of them may apply to a sandbox.
const HOSTILE: &str = "Host *\n  User root\n  Port 2222\n  HostName example.invalid\n  ProxyJump bastion.invalid\n  \
    StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  IdentityFile ~/.ssh/other\n  ForwardAgent yes\n  \
    ForwardX11 yes\n  ControlMaster auto\n  ControlPath ~/.ssh/shared\n  PubkeyAuthentication no\n  \
    PreferredAuthentications password\n  RemoteCommand true\n  HostKeyAlgorithms rsa-sha2-512\n";

fn id_from_host(host: &str) -> &str {
    host.trim_end_matches(".sandbox")
}

#[test]
fn ssh_scp_and_sftp_ignore_settings_for_all_hosts() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let host = cli.install_ssh_config(HOSTILE);
    let output = cli.run_openssh("ssh", &[&host, "echo $((6 * 7)); exit 3"]);
    assert_eq!(
        (stdout(&output).as_str(), code(&output)),
        ("42\n", 3),
        "{}",
        stderr(&output)
    );

    cli.write("data", "some bytes");
    let output = cli.run_openssh("scp", &["-q", "data", &format!("{host}:copied")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.write("batch", "get copied back\n");
    let output = cli.run_openssh("sftp", &["-q", "-b", "batch", &host]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(fs::read(cli.path("back")).unwrap(), b"some bytes");

    assert!(
        fs::read_to_string(cli.ssh_config())
            .unwrap()
            .ends_with(HOSTILE),
        "the user's lines are kept"
    );
    assert_eq!(
        cli.expect_ok(["ssh", id_from_host(&host), "--", "echo", "directly"]),
        "directly\n"
    );
}

#[test]
fn rsync_and_git_reach_a_sandbox() {
    if !peers::OPENSSH.is_available() || !peers::RSYNC.is_available() || !peers::GIT.is_available()
    {
        return;
    }
    let cli = Cli::new();
    let host = cli.install_ssh_config(HOSTILE);
    // rsync and git read the same hostile configuration.
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

    cli.expect_ok([
        "exec",
        id_from_host(&host),
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
fn ssh_reports_a_deleted_sandbox() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let host = cli.install_ssh_config("");
    let removed = cli
        .command(["rm", id_from_host(&host)])
        .env("HOME", cli.path(""))
        .output()
        .unwrap();
    assert_eq!(code(&removed), 0);
    let output = cli.run_openssh("ssh", &[&host, "true"]);
    assert_eq!(code(&output), 255);
    assert!(
        stderr(&output).contains(&format!("there is no sandbox {}", id_from_host(&host))),
        "{}",
        stderr(&output)
    );
}
