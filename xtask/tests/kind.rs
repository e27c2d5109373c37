//! `cargo xtask e2e` with recorded stand-ins for kind, kubectl, docker and cargo: each knows the
//! calls that were recorded, word for word, and fails on any other. No cluster is made.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One of the calls in a `case`: patterns of the shell, arguments joined by single spaces.
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
"build --quiet --locked --package sandbox-cli --bin sandbox") ;;
"test --quiet --locked --package sandbox-tests --test k8s-faults") test -s "$SANDBOX_TEST_KUBECONFIG" ;;
"test --quiet --locked --package sandbox-tests --test k8s")
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
        // Said past the harness's capture: nobody shall take this for a run on kind.
        let line = "NOT RUN HERE: kind, docker and kubectl themselves; recorded stand-ins took their place\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        for (name, calls) in [
            ("kind", KIND),
            ("kubectl", KUBECTL),
            ("docker", DOCKER),
            ("cargo", CARGO),
        ] {
            stage.stand_in(name, calls);
        }
        stage
    }

    fn stand_in(&self, name: &str, calls: &str) {
        let script = format!(
            "#!/bin/sh\necho \"{name} $*\" >>\"$LOG\"\ncase \"$*\" in\n{calls}\n*) echo \"{name}: no such call was recorded: $*\" >&2; exit 64 ;;\nesac\n"
        );
        let file = self.path(&format!("bin/{name}"));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, script).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn e2e(&self, args: &[&str]) -> Command {
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

    /// The calls in their order: program, then what it does.
    fn calls(&self) -> Vec<String> {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        log.lines()
            .map(|line| line.split(' ').take(3).collect::<Vec<_>>().join(" "))
            .collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}

const LIFE: [&str; 13] = [
    "docker info --format",
    "cargo build --release",
    "cargo build --release",
    "kind create cluster",
    "kubectl --kubeconfig KUBECONFIG",
    "cargo build --quiet",
    "kind load image-archive",
    "kind load image-archive",
    "cargo test --quiet",
    "  auto",
    "cargo test --quiet",
    "  port-forward",
    "cargo test --quiet",
];

fn assert_life(stage: &Stage) {
    let mut calls = stage.calls();
    assert_eq!(
        calls.pop().as_deref(),
        Some("kind delete cluster"),
        "{calls:?}"
    );
    for (call, expected) in calls.iter().zip(LIFE) {
        assert_eq!(
            call.split(" /").next(),
            expected.split(" KUBE").next(),
            "{calls:?}"
        );
    }
}

#[test]
fn a_cluster_is_made_used_and_removed() {
    let stage = Stage::new();
    let output = stage.e2e(&[]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    assert_life(&stage);
    assert_eq!(stage.calls().len(), LIFE.len() + 1);
    assert!(
        said.contains("passed: the list over auto, the list over port-forward"),
        "{said}"
    );
    assert!(
        said.contains("NOT RUN: the tests in which a cluster's components fail"),
        "{said}"
    );
}

#[test]
fn what_fails_removes_it_too() {
    for (variable, why) in [
        ("CREATE", "kind create cluster failed"),
        ("TESTS", "the list over auto failed"),
    ] {
        let stage = Stage::new();
        let output = stage.e2e(&[]).env(variable, "7").output().unwrap();
        assert!(
            !output.status.success() && said(&output).contains(why),
            "{}",
            said(&output)
        );
        assert_life(&stage);
    }
}

#[test]
fn a_signal_removes_it_too() {
    for signal in ["INT", "TERM"] {
        let stage = Stage::new();
        let mut running = stage
            .e2e(&[])
            .env("HANG", stage.path("hangs"))
            .spawn()
            .unwrap();
        while !stage.path("hangs").exists() {
            assert!(running.try_wait().unwrap().is_none(), "it ended early");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let kill = Command::new("kill")
            .args(["-s", signal, &running.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
        assert!(!running.wait().unwrap().success());
        assert_life(&stage);
    }
}

#[test]
fn what_is_missing_is_told_with_the_mend() {
    for (missing, mend) in [
        ("kind", "kind.sigs.k8s.io"),
        ("docker", "docs.docker.com"),
        ("kubectl", "kubernetes-client"),
    ] {
        let stage = Stage::new();
        fs::remove_file(stage.path(&format!("bin/{missing}"))).unwrap();
        // Nothing but the stand-ins: this machine may have the real one.
        let output = stage
            .e2e(&[])
            .env("PATH", stage.path("bin"))
            .output()
            .unwrap();
        let said = said(&output);
        assert!(
            !output.status.success() && said.contains(&format!("there is no {missing}")),
            "{said}"
        );
        assert!(said.contains(mend), "{said}");
        assert!(
            stage.calls().iter().all(|call| !call.contains("cluster")),
            "{:?}",
            stage.calls()
        );
    }
    let stage = Stage::new();
    let output = stage.e2e(&[]).env("NO_DAEMON", "1").output().unwrap();
    assert!(
        !output.status.success() && said(&output).contains("systemctl start docker"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_cluster_that_is_there_is_left_there() {
    let stage = Stage::new();
    let kubeconfig = stage.path("kubeconfig");
    fs::write(&kubeconfig, "apiVersion: v1\n").unwrap();
    let with = |load: &str| {
        let args = [
            "--kubeconfig",
            kubeconfig.to_str().unwrap(),
            "--transport",
            "direct",
            "--load",
            load,
        ];
        stage.e2e(&args).output().unwrap()
    };
    let output = with("cp {} loaded");
    assert!(output.status.success(), "{}", said(&output));
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
    assert!(!with("false {}").status.success());
}
