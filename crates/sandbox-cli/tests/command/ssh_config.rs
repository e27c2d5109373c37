//! `sandbox ssh-config`: the files that it writes, and when it refuses to.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use sandbox_testkit::peers;

use crate::support::{Cli, code, sandbox_directory, stderr, stdout};

fn id_from_host(host: &str) -> &str {
    host.trim_end_matches(".sandbox")
}

#[test]
fn keys_are_private_and_removed_with_the_sandbox() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let host = cli.install_ssh_config("");
    let directory = sandbox_directory(&cli, id_from_host(&host));
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(directory.clone()), mode(directory.join("key"))),
        (0o700, 0o600)
    );

    // A sandbox that is created later is reachable at once, and its files are removed with it.
    let later = cli.create();
    let output = cli.run_openssh("ssh", &[&format!("{later}.sandbox"), "true"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    cli.expect_ok(["rm", &later]);
    assert!(!cli.home().join(".ssh/sandbox").join(&later).exists());

    // If another client deletes a sandbox, gc removes its files, but not those of another
    // environment.
    let foreign = cli.home().join(".ssh/sandbox/sbx-elsewhere/x");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(
        foreign.join("config"),
        "# sandbox sbx-elsewhere, uid x; SANDBOX_BACKEND=\"k8s\"\n",
    )
    .unwrap();
    let removed = cli
        .command(["rm", id_from_host(&host)])
        .env("HOME", cli.path(""))
        .output()
        .unwrap();
    assert_eq!(code(&removed), 0, "{}", stderr(&removed));
    assert!(directory.exists());
    cli.expect_ok(["gc"]);
    assert!(!directory.exists() && foreign.exists());

    cli.expect_ok(["ssh-config", "--uninstall"]);
    assert!(!cli.ssh_config().exists(), "nothing is left in it");
    assert!(!cli.home().join(".ssh/sandbox").exists());
}

#[test]
fn an_include_below_other_settings_is_rejected() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let line = format!(
        "Include \"{}/.ssh/sandbox/*/config\"\n",
        cli.home().display()
    );
    for (setting, keyword) in [
        ("ForwardAgent yes", "forwardagent"),
        (
            "PreferredAuthentications password",
            "preferredauthentications",
        ),
        ("RemoteCommand true", "remotecommand"),
        ("PubkeyAcceptedKeyTypes ssh-rsa", "pubkeyaccepted"),
        ("ProxyJump bastion.invalid", "proxycommand"),
    ] {
        let config = format!("Host *\n  {setting}\n\n{line}");
        fs::write(cli.ssh_config(), &config).unwrap();
        let output = cli.run(["ssh-config", "--install"]);
        assert_eq!(code(&output), 125, "{setting}");
        let message = stderr(&output);
        assert!(
            message.contains(keyword) && message.contains("to the top"),
            "{setting}: {message}"
        );
        assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
    }
    assert!(!cli.home().join(".ssh/sandbox").exists());

    // Keywords that a block does not set may come before it.
    let harmless = "Host *\n  Compression yes\n  LogLevel ERROR\n  Ciphers aes128-ctr\n  ServerAliveInterval 60\n  \
                    IdentityFile ~/.ssh/mine\n  SendEnv X\n  HashKnownHosts yes\n";
    let config = format!("{harmless}\n{line}");
    fs::write(cli.ssh_config(), &config).unwrap();
    cli.expect_ok(["ssh-config", "--install"]);
    assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
}

#[test]
fn a_configuration_that_ssh_rejects_is_not_changed() {
    let cli = Cli::new();
    cli.create();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let config = "Host *\n  User me";
    fs::write(cli.ssh_config(), config).unwrap();
    let refusing = cli.add_program(
        "ssh",
        "#!/bin/sh\necho 'line 9: Bad configuration option: hostname' >&2\nexit 255\n",
    );
    let output = cli
        .command(["ssh-config", "--install"])
        .env("PATH", refusing)
        .output()
        .unwrap();
    assert_eq!(code(&output), 125);
    let message = stderr(&output);
    assert!(
        message.contains("nothing was changed")
            && message.contains("Bad configuration option: hostname"),
        "{message}"
    );
    assert_eq!(fs::read_to_string(cli.ssh_config()).unwrap(), config);
    let there: Vec<_> = fs::read_dir(cli.home().join(".ssh"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(there, ["config"]);
}

#[test]
fn an_invalid_user_configuration_is_reported_and_not_changed() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    fs::write(cli.ssh_config(), "Host *\n  Usr me\n").unwrap();
    let output = cli.run(["ssh-config", "--install"]);
    assert_eq!(code(&output), 125);
    let message = stderr(&output);
    assert!(
        message.contains("fix that first; nothing was changed")
            && message.to_lowercase().contains("usr"),
        "{message}"
    );
    assert!(!cli.home().join(".ssh/sandbox").exists());
}

/// ssh exits at an unknown keyword, whichever host it connects to.
#[test]
fn an_old_client_gets_only_keywords_that_it_knows() {
    let Some(real) = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|directory| directory.join("ssh"))
        .find(|ssh| peers::OPENSSH.is_available() && ssh.exists())
    else {
        return;
    };
    let cli = Cli::new();
    let id = cli.create();
    assert!(
        cli.expect_ok(["ssh-config", &id])
            .contains("    RemoteCommand none\n")
    );
    let old = format!(
        "#!/bin/sh\ncase \"$*\" in *RemoteCommand*) exit 255;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    let old = cli.add_program("ssh", &old);
    let output = cli
        .command(["ssh-config", &id])
        .env("PATH", old)
        .output()
        .unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert!(stdout(&output).contains("Host ") && !stdout(&output).contains("RemoteCommand"));
}

#[test]
fn a_sandbox_without_access_is_skipped_unless_it_was_named() {
    let cli = Cli::new();
    let (whole, locked) = (cli.create(), cli.create());
    fs::remove_file(cli.state_dir().join(&locked).join("client_key")).unwrap();
    let all = cli.run(["ssh-config"]);
    assert_eq!(code(&all), 0, "{}", stderr(&all));
    assert!(
        stdout(&all).contains(&whole) && !stdout(&all).contains(&locked),
        "{}",
        stdout(&all)
    );
    assert!(
        stderr(&all).starts_with(&format!("sandbox: skipped {locked}: ")),
        "{}",
        stderr(&all)
    );
    let named = cli.run(["ssh-config", &whole, &locked]);
    assert_eq!((code(&named), stdout(&named).as_str()), (125, ""));
    if peers::OPENSSH.is_available() {
        assert_eq!(code(&cli.run(["ssh-config", "--install", &locked])), 125);
        assert!(
            !cli.ssh_config().exists(),
            "a failed installation changes nothing"
        );
        let installed = cli.run(["ssh-config", "--install"]);
        assert_eq!(code(&installed), 0, "{}", stderr(&installed));
        assert!(
            stderr(&installed).contains(&format!("try `ssh {whole}.sandbox`")),
            "{}",
            stderr(&installed)
        );
    }
}

#[test]
fn keys_of_another_environment_are_kept() {
    let cli = Cli::new();
    cli.expect_ok(["create", "--id", "web"]);
    cli.expect_ok(["ssh-config", "web"]);
    let key = sandbox_directory(&cli, "web").join("key");
    let elsewhere = |args: &[&str]| {
        let output = cli
            .command(args)
            .env("SANDBOX_STATE_DIR", cli.path("other"))
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{args:?}: {}", stderr(&output));
        output
    };
    // The other environment has no such sandbox.
    let output = elsewhere(&["rm", "web"]);
    let message = stderr(&output);
    assert!(
        message.contains("with other settings") && message.contains("sandbox rm web"),
        "{message}"
    );
    assert!(
        message.contains(&format!(
            "SANDBOX_STATE_DIR={:?}",
            cli.state_dir().to_str().unwrap()
        )),
        "{message}"
    );
    assert_eq!(stdout(&output), "");
    // The other environment has a sandbox with the same id.
    elsewhere(&["create", "--id", "web"]);
    assert_eq!(stdout(&elsewhere(&["rm", "web"])), "web\n");
    assert!(key.exists());
    cli.expect_ok(["rm", "web"]);
    assert!(!key.exists());
}

#[test]
fn without_install_the_blocks_are_printed() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    let (a, b) = (cli.create(), cli.create());
    let printed = cli.expect_ok(["ssh-config"]);
    assert!(
        printed.contains(&format!("Host {a}.sandbox\n"))
            && printed.contains(&format!("Host {b}.sandbox\n"))
    );
    assert!(!cli.ssh_config().exists());
    let block = cli.write("block", cli.expect_ok(["ssh-config", &b]));
    let output = Command::new("ssh")
        .arg("-F")
        .arg(block)
        .args([&format!("{b}.sandbox"), "pwd"])
        .output()
        .unwrap();
    assert_eq!(stdout(&output), "/home/sandbox\n", "{}", stderr(&output));
}

#[test]
fn settings_for_all_hosts_that_reach_sandboxes_are_pointed_out() {
    if !peers::OPENSSH.is_available() {
        return;
    }
    let cli = Cli::new();
    fs::create_dir_all(cli.home().join(".ssh")).unwrap();
    let included = cli.write("more", "SendEnv AWS_*\n");
    let install = |config: &str| {
        fs::write(cli.ssh_config(), config).unwrap();
        let output = cli.run(["ssh-config", "--install"]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        stderr(&output)
    };
    for (config, settings) in [
        (
            "Host *\n  SendEnv LANG LC_*\n  RemoteForward 4444 localhost:22\n".to_owned(),
            "RemoteForward 4444",
        ),
        (
            "LocalForward 8080 localhost:80\n".to_owned(),
            "LocalForward 8080",
        ),
        (
            "Match all\n  DynamicForward 1080\n".to_owned(),
            "DynamicForward 1080",
        ),
        (format!("Include {}\n", included.display()), "SendEnv AWS_*"),
    ] {
        let message = install(&config);
        assert!(
            message.contains("settings for all hosts that reach sandboxes, too")
                && message.contains(settings),
            "{config}: {message}"
        );
        assert!(
            message.contains("Host * !*.sandbox") && message.contains("`sandbox ssh`"),
            "{message}"
        );
    }
    for config in [
        "Host * !*.sandbox\n  RemoteForward 4444 localhost:22\n",
        "Host bastion\n  SendEnv AWS_*\n",
        "Host *\n  SendEnv LANG LC_*\n",
        "",
    ] {
        let message = install(config);
        assert!(
            !message.contains("reach sandboxes, too"),
            "{config}: {message}"
        );
    }
}
