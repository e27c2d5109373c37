//! OpenSSH's tools, rsync and git, by the name `<id>.sandbox`.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use sandbox_testkit::peers;
use support::{Cli, code, stderr, stdout};

/// What somebody may have said for all hosts. None of it may count for a sandbox.
const HOSTILE: &str = "Host *\n  User root\n  Port 2222\n  HostName example.invalid\n  ProxyJump bastion.invalid\n  \
    StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  IdentityFile ~/.ssh/other\n  ForwardAgent yes\n  \
    ForwardX11 yes\n  ControlMaster auto\n  ControlPath ~/.ssh/shared\n  PubkeyAuthentication no\n  \
    PreferredAuthentications password\n  RemoteCommand true\n  HostKeyAlgorithms rsa-sha2-512\n";

fn ssh_config(cli: &Cli) -> PathBuf {
    cli.home().join(".ssh/config")
}

/// A tool of OpenSSH, reading the user's file that the command writes to.
fn tool(cli: &Cli, program: &str, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.arg("-F").arg(ssh_config(cli)).args(args);
    command.current_dir(cli.path("")).stdin(Stdio::null()).output().unwrap()
}

fn installed(config: &str) -> (Cli, String) {
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    fs::write(ssh_config(&cli), config).unwrap();
    let id = cli.create();
    cli.ok(["ssh-config", "--install"]);
    let host = format!("{id}.sandbox");
    (cli, host)
}

fn id(host: &str) -> &str {
    host.trim_end_matches(".sandbox")
}

#[test]
fn ssh_scp_and_sftp_reach_a_sandbox_whatever_is_said_for_all_hosts() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let (cli, host) = installed(HOSTILE);
    let output = tool(&cli, "ssh", &[&host, "echo $((6 * 7)); exit 3"]);
    assert_eq!((stdout(&output).as_str(), code(&output)), ("42\n", 3), "{}", stderr(&output));

    cli.write("data", "some bytes");
    let output = tool(&cli, "scp", &["-q", "data", &format!("{host}:copied")]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.write("batch", "get copied back\n");
    let output = tool(&cli, "sftp", &["-q", "-b", "batch", &host]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(fs::read(cli.path("back")).unwrap(), b"some bytes");

    assert!(fs::read_to_string(ssh_config(&cli)).unwrap().ends_with(HOSTILE), "what was there stays");
    assert_eq!(cli.ok(["ssh", id(&host), "--", "echo", "directly"]), "directly\n");
}

#[test]
fn keys_are_private_and_go_with_the_sandbox() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let (cli, host) = installed("");
    let directory = cli.home().join(".ssh/sandbox").join(id(&host));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(directory.clone()), mode(directory.join("key"))), (0o700, 0o600));

    // One made later is known at once, and forgotten as soon as it is removed.
    let later = cli.create();
    let output = tool(&cli, "ssh", &[&format!("{later}.sandbox"), "true"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.ok(["rm", &later]);
    assert!(!cli.home().join(".ssh/sandbox").join(&later).exists());

    // One that went without us: by gc, which leaves those of another place alone.
    let foreign = cli.home().join(".ssh/sandbox/sbx-elsewhere");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("config"), "# sandbox sbx-elsewhere, uid x; SANDBOX_BACKEND=\"k8s\"\n").unwrap();
    let removed = cli.command(["rm", id(&host)]).env("HOME", cli.path("")).output().unwrap();
    assert_eq!(code(&removed), 0, "{}", stderr(&removed));
    assert!(directory.exists());
    cli.ok(["gc"]);
    assert!(!directory.exists() && foreign.exists());

    cli.ok(["ssh-config", "--uninstall"]);
    assert!(!ssh_config(&cli).exists(), "nothing is left in it");
    assert!(!cli.home().join(".ssh/sandbox").exists());
}

#[test]
fn an_include_that_comes_too_late_is_refused() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let line = format!("Include \"{}/.ssh/sandbox/*/config\"\n", cli.home().display());
    fs::write(ssh_config(&cli), format!("Host *\n  ForwardAgent yes\n\n{line}")).unwrap();
    let output = cli.output(["ssh-config", "--install"]);
    assert_eq!(code(&output), 125);
    assert!(
        stderr(&output).contains("forwardagent") && stderr(&output).contains("to the top"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn without_install_the_blocks_are_printed() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    let (a, b) = (cli.create(), cli.create());
    let printed = cli.ok(["ssh-config"]);
    assert!(
        printed.contains(&format!("Host {a}.sandbox\n")) && printed.contains(&format!("Host {b}.sandbox\n"))
    );
    assert!(!ssh_config(&cli).exists());
    let block = cli.write("block", cli.ok(["ssh-config", &b]));
    let output =
        Command::new("ssh").arg("-F").arg(block).args([&format!("{b}.sandbox"), "pwd"]).output().unwrap();
    assert_eq!(stdout(&output), "/home/sandbox\n", "{}", stderr(&output));
}

#[test]
fn rsync_and_git_work_as_with_any_host() {
    if !peers::OPENSSH.is_here() || !peers::RSYNC.is_here() || !peers::GIT.is_here() {
        return;
    }
    let (cli, host) = installed("");
    let shell = format!("ssh -F {}", ssh_config(&cli).display());
    cli.write("tree/a/b", "deep");
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(cli.path("")).env("GIT_SSH_COMMAND", &shell).env("HOME", cli.home());
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(code(&output), 0, "{program} {args:?}: {}", stderr(&output));
        stdout(&output)
    };
    run("rsync", &["-a", "-e", &shell, "tree/", &format!("{host}:synced")]);
    run("rsync", &["-a", "-e", &shell, &format!("{host}:synced/"), "returned"]);
    assert_eq!(fs::read(cli.path("returned/a/b")).unwrap(), b"deep");

    cli.ok(["exec", id(&host), "--", "git", "init", "--quiet", "--bare", "repository"]);
    run("git", &["init", "--quiet", "--initial-branch=main", "work"]);
    cli.write("work/file", "tracked");
    let git = |args: &[&str]| {
        run("git", &[&["-C", "work", "-c", "user.name=t", "-c", "user.email=t@t"], args].concat())
    };
    git(&["add", "file"]);
    git(&["commit", "--quiet", "--message", "one"]);
    git(&["push", "--quiet", &format!("{host}:repository"), "main"]);
    run("git", &["clone", "--quiet", "--branch=main", &format!("{host}:repository"), "cloned"]);
    assert_eq!(fs::read(cli.path("cloned/file")).unwrap(), b"tracked");
}

#[test]
fn a_sandbox_that_is_gone_is_told_to_ssh() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let (cli, host) = installed("");
    let removed = cli.command(["rm", id(&host)]).env("HOME", cli.path("")).output().unwrap();
    assert_eq!(code(&removed), 0);
    let output = tool(&cli, "ssh", &[&host, "true"]);
    assert_eq!(code(&output), 255);
    assert!(stderr(&output).contains(&format!("there is no sandbox {}", id(&host))), "{}", stderr(&output));
}
