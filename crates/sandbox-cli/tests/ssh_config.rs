//! What `sandbox ssh-config` writes, and when it writes nothing.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use sandbox_testkit::peers;
use support::{Cli, code, stderr, stdout};

fn id(host: &str) -> &str {
    host.trim_end_matches(".sandbox")
}

#[test]
fn keys_are_private_and_go_with_the_sandbox() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    let host = cli.installed("");
    let directory = cli.home().join(".ssh/sandbox").join(id(&host));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(directory.clone()), mode(directory.join("key"))),
        (0o700, 0o600)
    );

    // One made later is known at once, and forgotten as soon as it is removed.
    let later = cli.create();
    let output = cli.tool("ssh", &[&format!("{later}.sandbox"), "true"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.ok(["rm", &later]);
    assert!(!cli.home().join(".ssh/sandbox").join(&later).exists());

    // One that went without us: by gc, which leaves those of another place alone.
    let foreign = cli.home().join(".ssh/sandbox/sbx-elsewhere");
    fs::create_dir(&foreign).unwrap();
    fs::write(
        foreign.join("config"),
        "# sandbox sbx-elsewhere, uid x; SANDBOX_BACKEND=\"k8s\"\n",
    )
    .unwrap();
    let removed = cli
        .command(["rm", id(&host)])
        .env("HOME", cli.path(""))
        .output()
        .unwrap();
    assert_eq!(code(&removed), 0, "{}", stderr(&removed));
    assert!(directory.exists());
    cli.ok(["gc"]);
    assert!(!directory.exists() && foreign.exists());

    cli.ok(["ssh-config", "--uninstall"]);
    assert!(!cli.ssh_config().exists(), "nothing is left in it");
    assert!(!cli.home().join(".ssh/sandbox").exists());
}

#[test]
fn an_include_that_comes_too_late_is_refused() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let line = format!(
        "Include \"{}/.ssh/sandbox/*/config\"\n",
        cli.home().display()
    );
    for (said, keyword) in [
        ("ForwardAgent yes", "forwardagent"),
        (
            "PreferredAuthentications password",
            "preferredauthentications",
        ),
        ("RemoteCommand true", "remotecommand"),
        ("PubkeyAcceptedKeyTypes ssh-rsa", "pubkeyaccepted"),
        ("ProxyJump bastion.invalid", "proxycommand"),
    ] {
        let config = format!("Host *\n  {said}\n\n{line}");
        fs::write(cli.ssh_config(), &config).unwrap();
        let output = cli.output(["ssh-config", "--install"]);
        assert_eq!(code(&output), 125, "{said}");
        let told = stderr(&output);
        assert!(
            told.contains(keyword) && told.contains("to the top"),
            "{said}: {told}"
        );
        assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
    }
    assert!(!cli.home().join(".ssh/sandbox").exists());

    // What a block does not speak of is the user's own affair, above it too.
    let harmless = "Host *\n  Compression yes\n  LogLevel ERROR\n  Ciphers aes128-ctr\n  ServerAliveInterval 60\n  \
                    IdentityFile ~/.ssh/mine\n  SendEnv X\n  HashKnownHosts yes\n";
    let config = format!("{harmless}\n{line}");
    fs::write(cli.ssh_config(), &config).unwrap();
    cli.ok(["ssh-config", "--install"]);
    assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
}

#[test]
fn a_client_that_refuses_is_left_as_it_was() {
    let cli = Cli::new();
    cli.create();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let config = "Host *\n  User me";
    fs::write(cli.ssh_config(), config).unwrap();
    let refusing = cli.path_with(
        "ssh",
        "#!/bin/sh\necho 'line 9: Bad configuration option: hostname' >&2\nexit 255\n",
    );
    let output = cli
        .command(["ssh-config", "--install"])
        .env("PATH", refusing)
        .output()
        .unwrap();
    assert_eq!(code(&output), 125);
    let told = stderr(&output);
    assert!(
        told.contains("nothing was changed") && told.contains("Bad configuration option: hostname"),
        "{told}"
    );
    assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
    let there: Vec<_> = fs::read_dir(cli.home().join(".ssh"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(there, ["config"]);
}

#[test]
fn what_is_broken_already_is_named_and_stays() {
    if !peers::OPENSSH.is_here() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    fs::write(cli.ssh_config(), "Host *\n  Usr me\n").unwrap();
    let output = cli.output(["ssh-config", "--install"]);
    assert_eq!(code(&output), 125);
    let told = stderr(&output);
    assert!(
        told.contains("as it is; mend that first") && told.to_lowercase().contains("usr"),
        "{told}"
    );
    assert!(!cli.home().join(".ssh/sandbox").exists());
}

/// One keyword that it does not know would end ssh for every host.
#[test]
fn an_old_client_is_told_nothing_that_it_does_not_know() {
    let Some(real) = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("ssh"))
        .find(|ssh| peers::OPENSSH.is_here() && ssh.exists())
    else {
        return;
    };
    let cli = Cli::new();
    let id = cli.create();
    assert!(
        cli.ok(["ssh-config", &id])
            .contains("    RemoteCommand none\n")
    );
    let old = format!(
        "#!/bin/sh\ncase \"$*\" in *RemoteCommand*) exit 255;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    let old = cli.path_with("ssh", &old);
    let output = cli
        .command(["ssh-config", &id])
        .env("PATH", old)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("Host ") && !stdout(&output).contains("RemoteCommand"));
}

#[test]
fn a_sandbox_without_access_is_left_out_unless_it_was_named() {
    let cli = Cli::new();
    let (whole, locked) = (cli.create(), cli.create());
    fs::remove_file(cli.state().join(&locked).join("client_key")).unwrap();
    let all = cli.output(["ssh-config"]);
    assert_eq!(code(&all), 0, "{}", stderr(&all));
    assert!(
        stdout(&all).contains(&whole) && !stdout(&all).contains(&locked),
        "{}",
        stdout(&all)
    );
    assert!(
        stderr(&all).starts_with(&format!("sandbox: left out {locked}: ")),
        "{}",
        stderr(&all)
    );
    let named = cli.output(["ssh-config", &whole, &locked]);
    assert_eq!((code(&named), stdout(&named).as_str()), (125, ""));
    if peers::OPENSSH.is_here() {
        assert_eq!(code(&cli.output(["ssh-config", "--install", &locked])), 125);
        assert!(
            !cli.ssh_config().exists(),
            "nothing is installed for what failed"
        );
        let installed = cli.output(["ssh-config", "--install"]);
        assert_eq!(code(&installed), 0, "{}", stderr(&installed));
        assert!(
            stderr(&installed).contains(&format!("try `ssh {whole}.sandbox`")),
            "{}",
            stderr(&installed)
        );
    }
}

#[test]
fn the_keys_of_another_place_stay() {
    let cli = Cli::new();
    cli.ok(["create", "--id", "web"]);
    cli.ok(["ssh-config", "web"]);
    let key = cli.home().join(".ssh/sandbox/web/key");
    let elsewhere = |args: &[&str]| {
        let output = cli
            .command(args)
            .env("SANDBOX_STATE_DIR", cli.path("other"))
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        output
    };
    // One that is not there.
    let output = elsewhere(&["rm", "web"]);
    let told = stderr(&output);
    assert!(
        told.contains("was made elsewhere") && told.contains("sandbox rm web"),
        "{told}"
    );
    assert!(
        told.contains(&format!(
            "SANDBOX_STATE_DIR={:?}",
            cli.state().to_str().unwrap()
        )),
        "{told}"
    );
    assert_eq!(stdout(&output), "");
    // One that is there, of the same name.
    elsewhere(&["create", "--id", "web"]);
    assert_eq!(stdout(&elsewhere(&["rm", "web"])), "web\n");
    assert!(key.exists());
    cli.ok(["rm", "web"]);
    assert!(!key.exists());
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
        printed.contains(&format!("Host {a}.sandbox\n"))
            && printed.contains(&format!("Host {b}.sandbox\n"))
    );
    assert!(!cli.ssh_config().exists());
    let block = cli.write("block", cli.ok(["ssh-config", &b]));
    let output = Command::new("ssh")
        .arg("-F")
        .arg(block)
        .args([&format!("{b}.sandbox"), "pwd"])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "/home/sandbox\n", "{}", stderr(&output));
}
