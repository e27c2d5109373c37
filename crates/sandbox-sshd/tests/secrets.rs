//! A workload of the same user cannot read the memory or the environment of the server.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::sys::ptrace;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::{Pid, geteuid};
use sandbox_testkit::peers::OPENSSH;
use support::{Process, text};

/// The user of the server if the tests run as root, which could read everything.
const UNPRIVILEGED: u32 = 61_234;

#[test]
fn a_workload_of_the_same_user_cannot_read_the_host_key() {
    if !OPENSSH.is_available() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (host, user) = support::write_keys(directory.path());
    // An unprivileged user can run the programs from here.
    for (from, name) in [
        (env!("CARGO_BIN_EXE_sandbox-sshd").into(), "sshd"),
        (std::env::current_exe().unwrap(), "workload"),
    ] {
        std::fs::copy(from, directory.path().join(name)).unwrap();
        std::fs::set_permissions(
            directory.path().join(name),
            PermissionsExt::from_mode(0o755),
        )
        .unwrap();
    }
    let home = directory.path().join("home");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = Command::new(directory.path().join("sshd"));
    command
        .args(["--listen", "127.0.0.1:0", "--attached", "120", "--home"])
        .arg(&home)
        .env_remove("SANDBOX_TEST_REQUIRE")
        .env("SANDBOX_SSHD_HOST_KEY", host.private.expose())
        .env("SANDBOX_SSHD_AUTHORIZED_KEYS", user.public.as_str())
        .env("IMAGE_VARIABLE", "value");
    if geteuid().is_root() {
        std::os::unix::fs::chown(&home, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    let server = Process::run(command, directory, &host);

    if geteuid().is_root() {
        let environ = std::fs::read(format!("/proc/{}/environ", server.child.id())).unwrap();
        assert!(
            text(&environ).contains("IMAGE_VARIABLE=value"),
            "root can read the environment"
        );
        assert!(
            !text(&environ).contains("PRIVATE KEY") && !text(&environ).contains("SANDBOX_SSHD"),
            "the server did not re-execute itself"
        );
        let arguments = std::fs::read(format!("/proc/{}/cmdline", server.child.id())).unwrap();
        assert!(!text(&arguments).contains("PRIVATE KEY"));
    }
    let program = server.directory.path().join("workload");
    let line = format!(
        "exec {} workload --exact --ignored --nocapture",
        program.display()
    );
    let mut ssh = server.client("ssh");
    let out = ssh
        .args(["me@127.0.0.1", &line])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}\n{}",
        text(&out.stdout),
        text(&out.stderr)
    );
    assert!(
        text(&out.stdout).contains("1 passed"),
        "{}",
        text(&out.stdout)
    );
}

/// Runs in the sandbox. Its parent is the server.
#[test]
#[ignore = "the test above runs it as a workload"]
fn workload() {
    let server = nix::unistd::getppid();
    assert!(!geteuid().is_root());
    let name = std::fs::read_to_string(format!("/proc/{server}/comm")).unwrap();
    assert!(name.contains("exe") || name.contains("sshd"), "{name}");
    for (name, _) in std::env::vars_os() {
        assert!(!name.to_string_lossy().starts_with("SANDBOX_"), "{name:?}");
    }

    // The attempts are sound: they succeed against a process of the same user that does not hide
    // its memory. It is a child, because some systems allow ptrace only of children.
    let mut control = Command::new("sleep")
        .arg("60")
        .env("SECRET", "x")
        .spawn()
        .unwrap();
    let id = Pid::from_raw(control.id().cast_signed());
    let exposed = find_exposures(id);
    control.kill().unwrap();
    control.wait().unwrap();
    assert_eq!(
        exposed,
        [
            "environ",
            "mem",
            "maps",
            "fd",
            "auxv",
            "ptrace",
            "process_vm_readv"
        ]
    );

    let exposed = find_exposures(server);
    assert!(exposed.is_empty(), "the server is exposed by {exposed:?}");
    // No inherited descriptor leads to a file of the server.
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let entry = entry.unwrap();
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        let to = std::fs::read_link(entry.path()).unwrap_or_default();
        assert!(
            number <= 2 || to.starts_with("/proc"),
            "descriptor {number} leads to {}",
            to.display()
        );
    }
}

/// Returns the interfaces by which a process's memory or environment can be read.
fn find_exposures(pid: Pid) -> Vec<&'static str> {
    let mut exposed = Vec::new();
    for name in ["environ", "mem", "maps"] {
        if std::fs::File::open(format!("/proc/{pid}/{name}")).is_ok() {
            exposed.push(name);
        }
    }
    if std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok() {
        exposed.push("fd");
    }
    if std::fs::read(format!("/proc/{pid}/auxv")).is_ok() {
        exposed.push("auxv");
    }
    if ptrace::seize(pid, ptrace::Options::empty()).is_ok() {
        exposed.push("ptrace");
    }
    let mut buffer = [0; 1];
    // The address is invalid, so EFAULT means that reading was permitted.
    let remote = [RemoteIoVec { base: 1, len: 1 }];
    let read = process_vm_readv(pid, &mut [std::io::IoSliceMut::new(&mut buffer)], &remote);
    if read != Err(nix::errno::Errno::EPERM) {
        exposed.push("process_vm_readv");
    }
    exposed
}
