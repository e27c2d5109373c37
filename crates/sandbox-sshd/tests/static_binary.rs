//! The statically linked binary, as it is injected into images: in an empty root directory, and in
//! one that has busybox.
//!
//! The build takes minutes, so it happens only where `SANDBOX_TEST_REQUIRE` lists `static`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::geteuid;
use sandbox_core::KeyPair;
use sandbox_testkit::peers::{self, BUSYBOX, OPENSSH};
use support::{Process, noise, text};

const TARGET: &str = "x86_64-unknown-linux-gnu";
const MEGABYTE: u64 = 1 << 20;

/// One test for both root directories, because they share the build, which takes minutes.
#[test]
fn the_static_binary_serves_an_empty_root_and_one_with_busybox() {
    if !peers::is_required("static") {
        peers::skip(
            "static",
            "builds a static binary for minutes (SANDBOX_TEST_REQUIRE=static)",
        );
        return;
    }
    if !OPENSSH.is_available() || !BUSYBOX.is_available() {
        return;
    }
    let binary = build();
    let size = binary.metadata().unwrap().len();
    assert!(size < 10 * MEGABYTE, "{size} bytes, stripped");
    test_empty_root(&binary);
    test_busybox_root(&binary);
}

/// Builds the binary by the task that also builds its image, so that the same binary is tested and
/// built only once.
fn build() -> PathBuf {
    // This test is in target/debug/deps.
    let executable = std::env::current_exe().unwrap();
    let target = executable.ancestors().nth(3).unwrap();
    let image = target.join("static-binary-test.oci.tar");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args([
        "run",
        "--quiet",
        "--locked",
        "--package",
        "xtask",
        "--",
        "image",
        "--output",
    ]);
    cargo.arg(&image).env("CARGO_TARGET_DIR", target);
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap();
    assert!(cargo.current_dir(workspace).status().unwrap().success());
    std::fs::remove_file(image).unwrap();
    target.join(TARGET).join("release/sandbox-sshd")
}

/// Starts a server in the root directory `root`, with its keys in the environment.
fn start_in(
    root: &Path,
    binary: &Path,
    directory: tempfile::TempDir,
    (host, user): &(KeyPair, KeyPair),
) -> Process {
    std::fs::copy(binary, root.join("sandbox-sshd")).unwrap();
    let mut command = if geteuid().is_root() {
        Command::new(peers::find_program("chroot").unwrap())
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "chroot"]);
        command
    };
    command
        .arg(root)
        .args([
            "/sandbox-sshd",
            "--listen",
            "127.0.0.1:0",
            "--attached",
            "120",
        ])
        .env_clear()
        .env("SANDBOX_SSHD_HOST_KEY", host.private.expose())
        .env("SANDBOX_SSHD_AUTHORIZED_KEYS", user.public.as_str());
    Process::run(command, directory, host)
}

fn test_empty_root(binary: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let keys = support::write_keys(directory.path());
    let root = directory.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let server = start_in(&root, binary, directory, &keys);

    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 10 * 1024, "{resident} KiB of memory while idle");

    let out = server.ssh("exec '/sandbox-sshd' '--version'");
    assert!(text(&out.stdout).starts_with("sandbox-sshd "), "{out:?}");
    let out = server.ssh("echo hi");
    assert_eq!(out.status.code(), Some(127));
    assert!(
        text(&out.stderr).contains("there is no shell in this image"),
        "{out:?}"
    );
    test_files_and_ports(&server, &root.join("home/sandbox"));
}

fn test_busybox_root(binary: &Path) {
    let directory = tempfile::tempdir().unwrap();
    let keys = support::write_keys(directory.path());
    let root = directory.path().join("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("root")).unwrap();
    std::fs::copy(
        peers::find_program("busybox").unwrap(),
        root.join("bin/busybox"),
    )
    .unwrap();
    std::fs::set_permissions(root.join("bin/busybox"), PermissionsExt::from_mode(0o755)).unwrap();
    for name in ["sh", "cat", "wc", "sleep", "env"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
    let server = start_in(&root, binary, directory, &keys);

    let out = server.ssh("cd / && pwd; exit 9");
    assert_eq!((&*text(&out.stdout), out.status.code()), ("/\n", Some(9)));
    let out = server.ssh("exec 'wc' '-c' '/bin/none'");
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    let out = server.ssh("env");
    assert!(
        text(&out.stdout).contains("HOME=/home/sandbox\n"),
        "{out:?}"
    );
    assert!(!text(&out.stdout).contains("SANDBOX"), "{out:?}");
    test_files_and_ports(&server, &root.join("home/sandbox"));
}

/// Tests transfers and forwarded ports, which need no program in the image.
fn test_files_and_ports(server: &Process, home: &Path) {
    let data = noise(2 << 20, 77);
    let local = server.directory.path().join("data");
    std::fs::write(&local, &data).unwrap();
    let scp = |from: &str, to: &str| {
        server
            .client("scp")
            .args(["-q", from, to])
            .status()
            .unwrap()
    };
    assert!(scp(local.to_str().unwrap(), "me@127.0.0.1:up").success());
    assert!(std::fs::read(home.join("up")).unwrap() == data);
    assert!(scp("me@127.0.0.1:up", local.to_str().unwrap()).success());
    assert!(std::fs::read(&local).unwrap() == data);

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let responder = std::thread::spawn(move || {
        let mut data = [0; 4];
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut data).unwrap();
        stream.write_all(b"pong").unwrap();
    });
    let mut ssh = server.client("ssh");
    ssh.args(["-W", &format!("localhost:{port}"), "me@127.0.0.1"]);
    let mut child = ssh
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"ping").unwrap();
    let out = child.wait_with_output().unwrap();
    responder.join().unwrap();
    assert_eq!(text(&out.stdout), "pong");
}
