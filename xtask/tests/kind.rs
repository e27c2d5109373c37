//! Tests `cargo xtask e2e` with recorded stand-ins for kind, kubectl, docker and cargo. Each
//! accepts exactly the recorded calls and fails on any other. No cluster is created.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Branches of a shell `case`, on the arguments joined by single spaces.
const KIND: &str = r#"
"create cluster --name sandbox-e2e-"[0-9]*" --wait 180s --kubeconfig "*/kubeconfig)
    for last; do :; done; echo 'apiVersion: v1' >"$last"; exit "${CREATE:-0}" ;;
"load image-archive "*"/e2e-sandbox-sshd.oci.tar --name sandbox-e2e-"[0-9]* | \
"load image-archive "*"/e2e-sandbox-command.oci.tar --name sandbox-e2e-"[0-9]*) test -s "$3" ;;
"delete cluster --name sandbox-e2e-"[0-9]*" --kubeconfig "*/kubeconfig) ;;
"#;
const KUBECTL: &str = r#"
"--kubeconfig "*"/kubeconfig get nodes") test -s "$2" ;;
"#;
const DOCKER: &str = r#"
"info --format {{.ServerVersion}}") [ -z "${NO_DAEMON:-}" ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; } ;;
"#;
const CARGO: &str = r#"
"build --release --locked --package sandbox-sshd --bin sandbox-sshd --target "* | \
"build --release --locked --package sandbox-cli --bin sandbox --target "*)
    case $9 in aarch64-*) machine='\267' ;; *) machine='\076' ;; esac
    mkdir -p "$CARGO_TARGET_DIR/$9/release"
    printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0'$machine'\0' >"$CARGO_TARGET_DIR/$9/release/$7" ;;
"test --quiet --locked --workspace --no-run --test command") ;;
"test --quiet --locked --workspace --test k8s-faults") test -s "$SANDBOX_TEST_KUBECONFIG" ;;
"test --quiet --locked --workspace --test k8s")
    test -s "$SANDBOX_TEST_KUBECONFIG" && test -n "$SANDBOX_TEST_IMAGE" && test -n "$SANDBOX_TEST_COMMAND" || exit 3
    echo "  $SANDBOX_TEST_TRANSPORT" >>"$LOG"; [ -z "${HANG:-}" ] || { touch "$HANG"; exec sleep 600; }; exit "${TESTS:-0}" ;;
"#;

struct Stage {
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        // Written to the real stderr, because the harness captures prints: a reader must not take
        // this for a run on kind.
        let line = "NOT RUN HERE: kind, docker and kubectl themselves; recorded stand-ins took their place\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        for (name, calls) in [
            ("kind", KIND),
            ("kubectl", KUBECTL),
            ("docker", DOCKER),
            ("cargo", CARGO),
        ] {
            stage.add_stand_in(name, calls);
        }
        stage
    }

    fn add_stand_in(&self, name: &str, calls: &str) {
        let script = format!(
            "#!/bin/sh\necho \"{name} $*\" >>\"$LOG\"\ncase \"$*\" in\n{calls}\n*) echo \"{name}: unrecorded call: $*\" >&2; exit 64 ;;\nesac\n"
        );
        let file = self.path(&format!("bin/{name}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn e2e_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg("e2e")
            .args(args)
            .env_clear()
            .current_dir(self.directory.path());
        command.env(
            "PATH",
            format!("{}:/usr/bin:/bin", self.path("bin").display()),
        );
        command
            .env("LOG", self.path("log"))
            .env("CARGO", self.path("bin/cargo"));
        command.env("CARGO_TARGET_DIR", self.path("target"));
        command
    }

    /// The recorded calls in order: the program and its first arguments.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines()
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

fn all_output(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

const EXPECTED_CALLS: [&str; 13] = [
    "docker info --format",
    "cargo build --release",
    "cargo build --release",
    "kind create cluster",
    "kubectl --kubeconfig KUBECONFIG",
    "cargo test --quiet",
    "kind load image-archive",
    "kind load image-archive",
    "cargo test --quiet",
    "  auto",
    "cargo test --quiet",
    "  port-forward",
    "cargo test --quiet",
];

fn assert_lifecycle(stage: &Stage) {
    let mut calls = stage.calls();
    assert_eq!(
        calls.pop().as_deref(),
        Some("kind delete cluster"),
        "{calls:?}"
    );
    for (call, expected) in calls.iter().zip(EXPECTED_CALLS) {
        assert_eq!(
            call.split(" /").next(),
            expected.split(" KUBE").next(),
            "{calls:?}"
        );
    }
}

#[test]
fn a_cluster_is_created_used_and_deleted() {
    let stage = Stage::new();
    let output = stage.e2e_command(&[]).output().unwrap();
    let text = all_output(&output);
    assert!(output.status.success(), "{text}");
    assert_lifecycle(&stage);
    assert_eq!(stage.calls().len(), EXPECTED_CALLS.len() + 1);
    assert!(
        text.contains("passed: the tests over auto, the tests over port-forward"),
        "{text}"
    );
    assert!(
        text.contains("NOT RUN: the tests in which components of the cluster fail"),
        "{text}"
    );
}

#[test]
fn a_failure_deletes_the_cluster() {
    for (variable, why) in [
        ("CREATE", "kind create cluster failed"),
        ("TESTS", "the tests over auto failed"),
    ] {
        let stage = Stage::new();
        let output = stage.e2e_command(&[]).env(variable, "7").output().unwrap();
        assert!(
            !output.status.success() && all_output(&output).contains(why),
            "{}",
            all_output(&output)
        );
        assert_lifecycle(&stage);
    }
}

#[test]
fn a_signal_deletes_the_cluster() {
    for signal in ["INT", "TERM"] {
        let stage = Stage::new();
        let mut running = stage
            .e2e_command(&[])
            .env("HANG", stage.path("hangs"))
            .spawn()
            .unwrap();
        while !stage.path("hangs").exists() {
            assert!(running.try_wait().unwrap().is_none(), "xtask ended early");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let kill = Command::new("kill")
            .args(["-s", signal, &running.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        assert!(!running.wait().unwrap().success());
        assert_lifecycle(&stage);
    }
}

#[test]
fn a_missing_program_is_named_with_its_remedy() {
    for (missing, remedy) in [
        ("kind", "kind.sigs.k8s.io"),
        ("docker", "docs.docker.com"),
        ("kubectl", "kubernetes-client"),
    ] {
        let stage = Stage::new();
        fs::remove_file(stage.path(&format!("bin/{missing}"))).unwrap();
        // PATH has only the stand-ins, because this machine may have the real program.
        let output = stage
            .e2e_command(&[])
            .env("PATH", stage.path("bin"))
            .output()
            .unwrap();
        let text = all_output(&output);
        assert!(
            !output.status.success() && text.contains(&format!("{missing} is not in PATH")),
            "{text}"
        );
        assert!(text.contains(remedy), "{text}");
        assert!(
            stage.calls().iter().all(|call| !call.contains("cluster")),
            "{:?}",
            stage.calls()
        );
    }
    let stage = Stage::new();
    let output = stage
        .e2e_command(&[])
        .env("NO_DAEMON", "1")
        .output()
        .unwrap();
    assert!(
        !output.status.success() && all_output(&output).contains("systemctl start docker"),
        "{}",
        all_output(&output)
    );
}

#[test]
fn an_existing_cluster_is_not_deleted() {
    let stage = Stage::new();
    let kubeconfig = stage.path("kubeconfig");
    fs::write(&kubeconfig, "apiVersion: v1\n").unwrap();
    let run_with_load = |load: &str| {
        let args = [
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--transport",
            "direct",
            "--load",
            load,
        ];
        stage.e2e_command(&args).output().unwrap()
    };
    let output = run_with_load("cp {} loaded");
    assert!(output.status.success(), "{}", all_output(&output));
    assert!(Path::new(&stage.path("loaded")).exists());
    assert!(
        stage.calls().iter().all(|call| !call.starts_with("kind ")),
        "{:?}",
        stage.calls()
    );
    assert_eq!(
        stage.calls().last().map(String::as_str),
        Some("cargo test --quiet")
    );
    assert!(!run_with_load("false {}").status.success());
}
