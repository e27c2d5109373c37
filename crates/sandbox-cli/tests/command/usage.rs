//! Errors before a sandbox is created, and help, completions and manual pages.

use crate::support::{Cli, code, stderr, stdout};

#[test]
fn invalid_usage_exits_with_125() {
    let cli = Cli::new();
    for args in [
        &["run"][..],
        &["frobnicate"],
        &["exec"],
        &["exec", "sbx-1"],
        &["run", "--ttl", "30", "--", "true"],
        &["run", "--imagee", "x", "true"],
        &["run", "--timeout", "soon", "--", "true"],
        &["run", "--label", "team", "--", "true"],
        &["--backend", "docker", "ls"],
        &["ls", "-o", "yaml"],
        &["cp", "one"],
        &["rm"],
        &[],
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}: {}", stderr(&output));
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
fn the_local_backend_rejects_pod_options() {
    let cli = Cli::new();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (good, list, broken) = (
        file("good", "nodeSelector: {disk: ssd}"),
        file("list", "[1]"),
        file("broken", "a: b: c"),
    );
    for (args, expected) in [
        (["--gpus", "1"], "SANDBOX_BACKEND=k8s"),
        (["--pod-options", &good], "SANDBOX_BACKEND=k8s"),
        (["--pod-options", &list], "contains no object"),
        (["--pod-options", &broken], "neither YAML nor JSON"),
        (["--pod-options", "/nowhere"], "cannot read /nowhere"),
        (["--gpus", "0"], "--gpus"),
    ] {
        let output = cli.run(["create", args[0], args[1]]);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(
            stderr(&output).contains(expected),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_succeed() {
    let cli = Cli::new();
    for args in [
        &["--help"][..],
        &["help", "run"],
        &["run", "--help"],
        &["--version"],
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 0, "{args:?}");
        assert!(
            output.stderr.is_empty() && stdout(&output).contains("sandbox"),
            "{args:?}"
        );
    }
}

#[test]
fn an_unknown_sandbox_is_an_error() {
    let cli = Cli::new();
    for args in [
        &["exec", "sbx-none", "--", "true"][..],
        &["info", "sbx-none"],
        &["cp", "sbx-none:a", "."],
        &["exec", "../../etc", "--", "true"],
        &["info", "\u{1b}[2J"],
        &["rm", "Not-An-Id"],
        &["cp", "Not-An-Id:a", "."],
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(
            stderr(&output).contains("there is no sandbox"),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(stderr(&output).starts_with("sandbox: ") && !stderr(&output).contains('\u{1b}'));
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn deleting_a_missing_sandbox_prints_a_note() {
    let output = Cli::new().run(["rm", "sbx-none"]);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, "sandbox: there is no sandbox sbx-none\n")
    );
}

#[test]
fn a_copy_needs_one_local_and_one_remote_path() {
    let cli = Cli::new();
    let local = cli.run(["cp", "a", "b"]);
    assert!(
        code(&local) == 125 && stderr(&local).contains("both paths are local"),
        "{}",
        stderr(&local)
    );
    let remote = cli.run(["cp", "sbx-1:a", "sbx-2:b"]);
    assert!(code(&remote) == 125 && stderr(&remote).contains("both paths are in a sandbox"));
}

#[test]
fn all_invalid_settings_are_reported_at_once() {
    let cli = Cli::new();
    let file = cli.write(
        "settings",
        "SANDBOX_TTL=30\nSANDBOX_LOCAL_ISOLATION=none\nSANDBOX_MEMROY=hunter2\n",
    );
    let mut command = cli.command(["--env-file", file.to_str().unwrap(), "ls"]);
    let output = command.env("SANDBOX_PIDS", "-1").output().unwrap();
    assert_eq!(code(&output), 125);
    let message = stderr(&output);
    assert!(
        message.starts_with("sandbox: 4 settings are wrong:\n"),
        "{message}"
    );
    for part in [
        "line 1: SANDBOX_TTL",
        "line 2: SANDBOX_LOCAL_ISOLATION",
        "did you mean SANDBOX_MEMORY?",
        "SANDBOX_PIDS=\"-1\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("hunter2"));
    let missing = cli.run(["--env-file", "nowhere", "ls"]);
    assert!(code(&missing) == 125 && stderr(&missing).contains("cannot read nowhere"));
}

#[test]
fn the_local_backend_rejects_an_image() {
    let cli = Cli::new();
    let output = cli.run(["run", "--image", "alpine", "--", "true"]);
    assert_eq!(code(&output), 125);
    assert!(
        stderr(&output).contains("does not support the image"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_env_file_with_other_variables_prints_a_warning() {
    let cli = Cli::new();
    let file = cli.write(
        "vars",
        "D=secret-4\nSANDBOX_TTL=1h\nA=secret-1\nB=\"secret-2\nx\"\nC=secret-3\n",
    );
    let file = file.to_str().unwrap();
    let output = cli.run(["--env-file", file, "ls"]);
    let message = stderr(&output);
    assert_eq!(code(&output), 0, "{message}");
    assert!(
        message.contains("vars has 4 variables that are not settings"),
        "{message}"
    );
    assert!(
        message.contains(": A, B, C, …;") && message.contains("use -e A"),
        "{message}"
    );
    assert!(!message.contains("secret"), "{message}");
    assert_eq!(stderr(&cli.run(["-q", "--env-file", file, "ls"])), "");
    let settings = cli.write("settings", "SANDBOX_TTL=1h\n");
    assert_eq!(
        stderr(&cli.run(["--env-file", settings.to_str().unwrap(), "ls"])),
        ""
    );
}

#[test]
fn docker_options_are_rejected_with_an_alternative() {
    let cli = Cli::new();
    for (args, expected) in [
        (&["run", "-p", "8080:80", "server"][..], "sandbox forward"),
        (
            &["run", "--publish", "8080:80", "server"],
            "sandbox forward",
        ),
        (&["run", "-d", "server"], "exec --detach"),
        (&["run", "--name", "web", "server"], "create --id"),
        (&["run", "--volume", "/a:/b", "ls"], "sandbox cp"),
        (&["kill", "sbx-none"], "sandbox rm sbx-none"),
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(
            stderr(&output).contains(expected),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    assert!(cli.list_ids().is_empty());
    let help = cli.expect_ok(["run", "--help"]);
    assert!(
        !help.contains("--publish") && !help.contains("--rm") && !help.contains("--volume"),
        "{help}"
    );
}

#[test]
fn verbose_prints_the_backend_unless_quiet() {
    let cli = Cli::new();
    assert_eq!(
        stderr(&cli.run(["-v", "ls"])),
        "sandbox: using the backend local\n"
    );
    assert_eq!(stderr(&cli.run(["-v", "--quiet", "ls"])), "");
}

#[test]
fn help_has_examples_and_man_writes_pages() {
    let cli = Cli::new();
    for command in ["run", "exec", "cp", "forward", "ssh-config", "logs"] {
        assert!(
            cli.expect_ok([command, "--help"])
                .contains("\nExamples:\n  sandbox "),
            "{command}"
        );
    }
    let pages = cli.path("pages");
    cli.expect_ok(["man", pages.to_str().unwrap()]);
    for page in ["sandbox.1", "sandbox-run.1", "sandbox-extend.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains("sandbox"),
            "{page}"
        );
    }
}

#[test]
fn each_shell_has_a_completion_script() {
    let cli = Cli::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            cli.expect_ok(["completions", shell]).contains("ssh-config"),
            "{shell}"
        );
    }
    let script = cli.write("completions", cli.expect_ok(["completions", "bash"]));
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(script)
        .output()
        .unwrap();
    assert_eq!(code(&checked), 0, "{}", stderr(&checked));
}

#[test]
fn each_subcommand_has_a_manual_page() {
    let cli = Cli::new();
    cli.expect_ok(["man", "pages"]);
    for page in ["sandbox.1", "sandbox-run.1", "sandbox-ssh-config.1"] {
        let text = std::fs::read_to_string(cli.path("pages").join(page)).unwrap();
        assert!(
            text.starts_with(".ie") && text.contains(".SH SYNOPSIS"),
            "{page}"
        );
    }
}
