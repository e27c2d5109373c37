//! The names by which ssh reaches sandboxes: one id in several places, and one that was created anew.

#![cfg(unix)]

use std::path::PathBuf;
use std::process::Command;

use sandbox_testkit::peers;

use crate::support::{Cli, code, sandbox_directory, stderr, stdout};

#[test]
fn one_id_in_two_places_is_refused_and_has_names_that_say_which() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let elsewhere = |args: &[&str]| {
        let output = cli
            .command(args)
            .env("SANDBOX_STATE_DIR", cli.path("other"))
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        output
    };
    cli.install_ssh_config("Host *\n  ProxyCommand none\n");
    cli.expect_ok(["create", "--id", "web"]);
    cli.expect_ok(["exec", "web", "--", "touch", "here"]);
    let ssh = |host: &str| cli.run_openssh("ssh", &[host, "ls"]);
    assert_eq!(stdout(&ssh("web.sandbox")), "here\n");

    let created = elsewhere(&["create", "--id", "web"]);
    let note = stderr(&created);
    elsewhere(&["exec", "web", "--", "touch", "there"]);
    // The note names the new sandbox first, then the other one.
    let mut names = note
        .split([' ', ';', ','])
        .filter(|word| word.ends_with(".sandbox") && *word != "web.sandbox");
    let (there, here) = (names.next().unwrap(), names.next().unwrap());
    let refused = ssh("web.sandbox");
    assert_eq!((code(&refused), stdout(&refused).as_str()), (255, ""));
    let message = stderr(&refused);
    assert!(
        message.contains("more than one sandbox is named web.sandbox")
            && message.contains(there)
            && message.contains(here),
        "{message}"
    );
    assert_eq!(stdout(&ssh(there)), "there\n", "{}", stderr(&ssh(there)));
    assert_eq!(stdout(&ssh(here)), "here\n", "{}", stderr(&ssh(here)));
    // The command knows which one is meant.
    assert_eq!(cli.expect_ok(["ssh", "web", "ls"]), "here\n");
    assert_eq!(stdout(&elsewhere(&["ssh", "web", "ls"])), "there\n");
    let printed = elsewhere(&["ssh-config", "web"]);
    assert!(
        stdout(&printed).contains(&format!("Host {there}")),
        "{}",
        stdout(&printed)
    );
    assert!(
        stderr(&printed).contains(&format!("as {there}")),
        "{}",
        stderr(&printed)
    );

    elsewhere(&["rm", "web"]);
    assert_eq!(stdout(&ssh("web.sandbox")), "here\n");
}

#[test]
fn a_block_of_a_sandbox_that_was_created_anew_says_so() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let print = || cli.write("block", cli.expect_ok(["ssh-config", "web"]));
    let ssh = |block: &PathBuf| {
        let mut ssh = Command::new("ssh");
        ssh.arg("-F")
            .arg(block)
            .args(["web.sandbox", "echo", "reached"]);
        ssh.output().unwrap()
    };
    cli.expect_ok(["create", "--id", "web"]);
    let old = print();
    assert_eq!(stdout(&ssh(&old)), "reached\n");
    cli.expect_ok(["rm", "web"]);
    cli.expect_ok(["create", "--id", "web"]);
    let output = ssh(&old);
    assert_eq!((code(&output), stdout(&output).as_str()), (255, ""));
    assert!(
        stderr(&output)
            .contains("created anew under the same id; run `sandbox ssh-config web` again"),
        "{}",
        stderr(&output)
    );
    let new = print();
    assert_eq!(stdout(&ssh(&new)), "reached\n");

    // Without `rm`, for example by another program, the earlier sandbox's files are replaced.
    cli.expect_ok(["rm", "web"]);
    cli.expect_ok(["create", "--id", "web"]);
    assert_eq!(stdout(&ssh(&print())), "reached\n");
    sandbox_directory(&cli, "web");
}
