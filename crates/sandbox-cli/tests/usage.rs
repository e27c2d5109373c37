//! What goes wrong before there is a sandbox.

mod support;

use support::{Cli, code, stderr, stdout};

#[test]
fn wrong_usage_is_our_own_failure() {
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
        let output = cli.output(args);
        assert_eq!(code(&output), 125, "{args:?}: {}", stderr(&output));
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{args:?}"
        );
    }
}

#[test]
fn what_only_a_cluster_can_do_is_refused_here() {
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
    for (args, said) in [
        (["--gpus", "1"], "SANDBOX_BACKEND=k8s"),
        (["--pod-options", &good], "SANDBOX_BACKEND=k8s"),
        (["--pod-options", &list], "write an object"),
        (["--pod-options", &broken], "neither YAML nor JSON"),
        (["--pod-options", "/nowhere"], "cannot read /nowhere"),
        (["--gpus", "0"], "--gpus"),
    ] {
        let output = cli.output(["create", args[0], args[1]]);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(
            stderr(&output).contains(said),
            "{args:?}: {}",
            stderr(&output)
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_and_version_are_no_failures() {
    let cli = Cli::new();
    for args in [
        &["--help"][..],
        &["help", "run"],
        &["run", "--help"],
        &["--version"],
    ] {
        let output = cli.output(args);
        assert_eq!(code(&output), 0, "{args:?}");
        assert!(
            output.stderr.is_empty() && stdout(&output).contains("sandbox"),
            "{args:?}"
        );
    }
}

#[test]
fn an_unknown_sandbox_is_named() {
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
        let output = cli.output(args);
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
fn removing_what_is_gone_is_a_remark() {
    let output = Cli::new().output(["rm", "sbx-none"]);
    assert_eq!(
        (code(&output), stderr(&output).as_str()),
        (0, "sandbox: there is no sandbox sbx-none\n")
    );
}

#[test]
fn a_copy_has_one_side_in_a_sandbox() {
    let cli = Cli::new();
    let local = cli.output(["cp", "a", "b"]);
    assert!(
        code(&local) == 125 && stderr(&local).contains("both sides are local"),
        "{}",
        stderr(&local)
    );
    let remote = cli.output(["cp", "sbx-1:a", "sbx-2:b"]);
    assert!(code(&remote) == 125 && stderr(&remote).contains("both sides are in a sandbox"));
}

#[test]
fn settings_with_mistakes_are_all_told() {
    let cli = Cli::new();
    let file = cli.write(
        "settings",
        "SANDBOX_TTL=30\nSANDBOX_LOCAL_ISOLATION=none\nSANDBOX_MEMROY=hunter2\n",
    );
    let mut command = cli.command(["--env-file", file.to_str().unwrap(), "ls"]);
    let output = command.env("SANDBOX_PIDS", "-1").output().unwrap();
    assert_eq!(code(&output), 125);
    let told = stderr(&output);
    assert!(
        told.starts_with("sandbox: 4 settings are wrong:\n"),
        "{told}"
    );
    for part in [
        "line 1: SANDBOX_TTL",
        "line 2: SANDBOX_LOCAL_ISOLATION",
        "did you mean SANDBOX_MEMORY?",
        "SANDBOX_PIDS=\"-1\"",
    ] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains("hunter2"));
    let missing = cli.output(["--env-file", "nowhere", "ls"]);
    assert!(code(&missing) == 125 && stderr(&missing).contains("cannot read nowhere"));
}

#[test]
fn an_image_is_refused_on_this_machine() {
    let cli = Cli::new();
    let output = cli.output(["run", "--image", "alpine", "--", "true"]);
    assert_eq!(code(&output), 125);
    assert!(
        stderr(&output).contains("does not support the image"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_file_of_variables_is_not_one_of_settings() {
    let cli = Cli::new();
    let file = cli.write(
        "vars",
        "D=secret-4\nSANDBOX_TTL=1h\nA=secret-1\nB=\"secret-2\nx\"\nC=secret-3\n",
    );
    let file = file.to_str().unwrap();
    let output = cli.output(["--env-file", file, "ls"]);
    let told = stderr(&output);
    assert_eq!(code(&output), 0, "{told}");
    assert!(
        told.contains("vars has 4 variables that are not settings"),
        "{told}"
    );
    assert!(
        told.contains(": A, B, C, …;") && told.contains("-e A passes"),
        "{told}"
    );
    assert!(!told.contains("secret"), "{told}");
    assert_eq!(stderr(&cli.output(["-q", "--env-file", file, "ls"])), "");
    let ours = cli.write("settings", "SANDBOX_TTL=1h\n");
    assert_eq!(
        stderr(&cli.output(["--env-file", ours.to_str().unwrap(), "ls"])),
        ""
    );
}

#[test]
fn what_docker_calls_otherwise_is_told_in_a_sentence() {
    let cli = Cli::new();
    for (args, said) in [
        (&["run", "-p", "8080:80", "server"][..], "sandbox forward"),
        (
            &["run", "--publish", "8080:80", "server"],
            "sandbox forward",
        ),
        (&["run", "-d", "server"], "exec --detach"),
        (&["run", "--name", "web", "server"], "create --id"),
        (&["run", "--volume", "/a:/b", "ls"], "sandbox cp"),
        (&["run", "-u", "1000", "id"], "runAsUser"),
        (&["exec", "--user", "root", "sbx-none", "id"], "runAsUser"),
        (&["kill", "sbx-none"], "sandbox rm sbx-none"),
    ] {
        let output = cli.output(args);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(
            stderr(&output).contains(said),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    assert!(cli.ids().is_empty());
    let help = cli.ok(["run", "--help"]);
    assert!(
        !help.contains("--publish") && !help.contains("--rm") && !help.contains("--volume"),
        "{help}"
    );
}

#[test]
fn where_it_works_is_told_unless_it_shall_be_quiet() {
    let cli = Cli::new();
    assert_eq!(
        stderr(&cli.output(["-v", "ls"])),
        "sandbox: using the backend local\n"
    );
    assert_eq!(stderr(&cli.output(["-v", "--quiet", "ls"])), "");
}

#[test]
fn examples_and_manual_pages_are_there() {
    let cli = Cli::new();
    for command in ["run", "exec", "cp", "forward", "ssh-config", "logs"] {
        assert!(
            cli.ok([command, "--help"])
                .contains("\nExamples:\n  sandbox "),
            "{command}"
        );
    }
    let pages = cli.path("pages");
    cli.ok(["man", pages.to_str().unwrap()]);
    for page in ["sandbox.1", "sandbox-run.1", "sandbox-extend.1"] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap();
        assert!(
            text.contains(".SH NAME") && text.contains("sandbox"),
            "{page}"
        );
    }
}
