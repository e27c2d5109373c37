//! The two scripts with real shells, as in a container: one waits, the other receives.

use super::*;

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

/// The shells that are installed here; images have one of these.
fn shells() -> Vec<Vec<&'static str>> {
    let candidates = [
        vec!["/bin/sh"],
        vec!["/bin/dash"],
        vec!["/bin/bash"],
        vec!["/bin/busybox", "sh"],
    ];
    let installed = candidates
        .into_iter()
        .filter(|shell| Path::new(shell[0]).exists());
    installed.collect()
}

/// A server that reports what it was started as. It succeeds with `--version`.
const SERVER: &str = r#"#!/bin/sh
[ "$1" = --version ] && exit
echo "pid $$ arguments $*"
echo "children $(cat /proc/$$/task/*/children | wc -w)"
"#;

/// The word of the Pod.
const NONCE: &str = "5c1d7e";

/// A container: the shell, and the directory that the server is written to.
struct Container {
    shell: Vec<&'static str>,
    directory: TempDir,
    /// Where programs are found.
    path: String,
}

impl Container {
    fn new(shell: &[&'static str]) -> Self {
        Self {
            shell: shell.to_vec(),
            directory: tempfile::tempdir().unwrap(),
            path: std::env::var("PATH").unwrap(),
        }
    }

    /// Only these programs are found.
    fn with_programs(shell: &[&'static str], programs: &[&str]) -> Self {
        let mut container = Self::new(shell);
        let bin = container.directory.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        for program in programs {
            let found = std::env::split_paths(&container.path)
                .map(|directory| directory.join(program))
                .find(|candidate| candidate.is_file());
            symlink(found.unwrap(), bin.join(program)).unwrap();
        }
        container.path = bin.to_str().unwrap().to_owned();
        container
    }

    fn command(&self, script: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.shell[0]);
        command
            .args(&self.shell[1..])
            .args(["-c", script, "sandbox"])
            .args(arguments)
            .env("PATH", &self.path)
            .env("SANDBOX_SSHD_HOST_KEY", "secret")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn wait(&self, limit: &str) -> Child {
        self.wait_in(self.directory(), NONCE, limit)
    }

    fn wait_in(&self, directories: &str, nonce: &str, limit: &str) -> Child {
        let arguments = [directories, nonce, limit, "--listen", "[::]:2222", "a b"];
        self.command(crate::manifest::pod::WAIT_SCRIPT, &arguments)
            .spawn()
            .unwrap()
    }

    /// Starts the process that waits, and returns once it does.
    fn wait_ready(&self) -> Child {
        let waiting = self.wait("30");
        self.await_waiting();
        waiting
    }

    fn receive(&self, attempt: &str) -> Child {
        self.command(RECEIVE, &[self.directory(), NONCE, attempt])
            .spawn()
            .unwrap()
    }

    /// Sends this input, and returns the last answer.
    fn send(&self, attempt: &str, input: &[&[u8]]) -> String {
        let mut script = self.receive(attempt);
        let mut stdin = script.stdin.take().unwrap();
        for part in input {
            // A script that has failed does not read all.
            drop(stdin.write_all(part));
        }
        drop(stdin);
        let output = script.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().last().unwrap_or_default().to_owned();
        last.strip_prefix(PREFIX).unwrap_or(&last).to_owned()
    }

    fn directory(&self) -> &str {
        self.directory.path().to_str().unwrap()
    }

    /// Files other than the one of the process that waits.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| name != "waiting" && name != "bin")
            .collect();
        names.sort();
        names
    }

    fn await_waiting(&self) {
        let file = self.directory.path().join("waiting");
        while std::fs::read(&file).unwrap_or_default().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn header(content: &[u8]) -> Vec<u8> {
    let hash = to_hex(&Sha256::digest(content));
    format!("{} {hash}\n", content.len()).into_bytes()
}

/// Ends a process that should not have been replaced.
fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_server_takes_the_place_of_the_process_that_waits() {
    for shell in shells() {
        let container = Container::new(&shell);
        let waiting = container.wait_ready();
        let started = Instant::now();
        let server = SERVER.as_bytes();
        assert_eq!(
            container.send("one", &[&header(server), server]),
            "done",
            "{shell:?}"
        );
        let pid = waiting.id();
        let output = waiting.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // The command substitution of the server is a child of its own.
        let expected = format!("pid {pid} arguments --listen [::]:2222 a b\nchildren 1\n");
        assert_eq!(text, expected, "{shell:?}");
        assert!(
            started.elapsed() < Duration::from_millis(900),
            "a signal ends the wait: {:?}",
            started.elapsed()
        );
        assert_eq!(container.files(), ["sandbox-sshd"]);
        // An attempt whose connection was lost after its success.
        assert_eq!(container.send("two", &[]), "done");
    }
}

#[test]
fn a_script_that_comes_before_the_process_waits_waits_for_it() {
    for shell in shells() {
        let container = Container::new(&shell);
        let mut script = container.receive("one");
        let server = SERVER.as_bytes();
        let mut input = script.stdin.take().unwrap();
        input.write_all(&header(server)).unwrap();
        input.write_all(server).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(container.files(), [""; 0]);
        let output = container.wait("30").wait_with_output().unwrap();
        assert!(output.status.success(), "{shell:?}");
        let output = script.wait_with_output().unwrap();
        assert!(output.stdout.ends_with(b"done\n"), "{output:?}");
    }
}

#[test]
fn what_another_sandbox_has_left_in_the_image_is_never_run() {
    for shell in shells() {
        let container = Container::new(&shell);
        let server = container.directory.path().join("sandbox-sshd");
        std::fs::write(&server, "#!/bin/sh\nexit 7\n").unwrap();
        std::fs::write(container.directory.path().join("waiting"), "1 other\n").unwrap();
        // No process waits yet.
        assert_eq!(container.send("early", &[]), "early", "{shell:?}");
        let mut waiting = container.wait("30");
        let content = SERVER.as_bytes();
        assert_eq!(container.send("one", &[&header(content), content]), "done");
        assert!(waiting.wait().unwrap().success(), "{shell:?}");
    }
}

#[test]
fn the_first_directory_that_can_be_written_is_chosen() {
    for shell in shells() {
        let container = Container::new(&shell);
        let file = container.directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        // No directory can be made below a file, whoever tries.
        let candidates = format!(
            "{0}/file/.sandbox {0}/new/.sandbox {0}",
            container.directory()
        );
        let waiting = container.wait_in(&candidates, NONCE, "30");
        let mut script = container
            .command(RECEIVE, &[&candidates, NONCE, "one"])
            .spawn()
            .unwrap();
        let server = SERVER.as_bytes();
        let mut input = script.stdin.take().unwrap();
        input.write_all(&header(server)).unwrap();
        input.write_all(server).unwrap();
        drop(input);
        let output = script.wait_with_output().unwrap();
        assert!(output.stdout.ends_with(b"done\n"), "{shell:?}: {output:?}");
        assert!(waiting.wait_with_output().unwrap().status.success());
        assert!(
            container
                .directory
                .path()
                .join("new/.sandbox/sandbox-sshd")
                .exists()
        );

        let nowhere = format!("{}/file/.sandbox", container.directory());
        let output = container.wait_in(&nowhere, NONCE, "30").wait_with_output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1), "{shell:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("SANDBOX_INJECTION=upload-volume"), "{text}");
    }
}

#[test]
fn what_is_cut_or_damaged_never_runs_and_leaves_nothing() {
    for shell in shells() {
        let container = Container::new(&shell);
        let mut waiting = container.wait_ready();
        let server = SERVER.as_bytes();
        let half = &server[..server.len() / 2];
        assert_eq!(
            container.send("cut", &[&header(server), half]),
            format!("cut {}", half.len())
        );
        assert_eq!(container.send("header", &[b"123"]), "cut 0");
        let mut other = server.to_vec();
        other[40] ^= 1;
        assert_eq!(
            container.send("damaged", &[&header(server), &other]),
            "damaged"
        );
        assert_eq!(container.files(), [""; 0], "{shell:?}");
        assert!(waiting.try_wait().unwrap().is_none(), "it still waits");
        // A later attempt succeeds, also beside one that never ends.
        let mut stuck = container.receive("stuck");
        let input = stuck.stdin.as_mut().unwrap();
        input.write_all(&header(server)).unwrap();
        input.write_all(half).unwrap();
        assert_eq!(container.send("whole", &[&header(server), server]), "done");
        assert!(waiting.wait().unwrap().success(), "{shell:?}");
        kill(stuck);
    }
}

#[test]
fn without_sha256sum_the_content_is_sent_back() {
    let programs = [
        "cat", "chmod", "env", "head", "mv", "rm", "sh", "sleep", "uname", "wc",
    ];
    for (answer, expected) in [("accepted", "done"), ("refused", "damaged")] {
        // The shell of busybox finds the program in itself.
        for shell in shells().into_iter().filter(|shell| shell.len() == 1) {
            let container = Container::with_programs(&shell, &programs);
            let waiting = container.wait_ready();
            let server = SERVER.as_bytes();
            let mut script = container.receive("one");
            let mut input = script.stdin.take().unwrap();
            let mut output = script.stdout.take().unwrap();
            input.write_all(&header(server)).unwrap();
            input.write_all(server).unwrap();
            let machine = std::env::consts::ARCH;
            let start = format!("{PREFIX}ready {machine} \n{PREFIX}content\n{SERVER}");
            let mut read = vec![0; start.len()];
            output.read_exact(&mut read).unwrap();
            assert_eq!(String::from_utf8(read).unwrap(), start, "{shell:?}");
            input.write_all(format!("{answer}\n").as_bytes()).unwrap();
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, format!("{PREFIX}{expected}\n"));
            script.wait().unwrap();
            let is_there = container.files() == ["sandbox-sshd"];
            assert_eq!(is_there, answer == "accepted", "{:?}", container.files());
            kill(waiting);
        }
    }
}

#[test]
fn what_an_image_lacks_is_reported() {
    for shell in shells() {
        // The shell of busybox finds all in itself.
        if shell.len() == 1 {
            let container = Container::with_programs(&shell, &["cat", "chmod", "rm", "uname"]);
            let waiting = container.wait("30").wait_with_output().unwrap();
            assert_eq!(waiting.status.code(), Some(127));
            let text = String::from_utf8(waiting.stderr).unwrap();
            assert!(text.contains("no program sleep"), "{text}");
            assert_eq!(
                container.send("one", &[]),
                "missing head mv wc",
                "{shell:?}"
            );
        }
        let container = Container::new(&shell);
        let waiting = container.wait_ready();
        let server = b"#!/bin/sh\nexit 3\n";
        assert_eq!(
            container.send("one", &[&header(server), server]),
            "unusable 3"
        );
        let server = b"#!/no/such/interpreter\n";
        assert!(
            container
                .send("two", &[&header(server), server])
                .starts_with("unusable 12")
        );
        assert_eq!(container.files(), [""; 0]);
        // Nothing can be created there by anyone.
        let partial = container.directory.path().join(".three.partial");
        std::fs::create_dir(partial).unwrap();
        assert_eq!(container.send("three", &[]), "unwritable", "{shell:?}");
        kill(waiting);
    }
}

#[test]
fn the_wait_ends_by_itself_and_when_it_is_told_to() {
    for shell in shells() {
        let container = Container::new(&shell);
        let output = container.wait("1").wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(82), "{shell:?}");
        assert_eq!(
            String::from_utf8(output.stderr).unwrap().trim(),
            sandbox_core::protocol::EndReason::NeverUsed.message()
        );
        std::fs::remove_file(container.directory.path().join("waiting")).unwrap();
        let mut waiting = container.wait_ready();
        let started = Instant::now();
        let pid = waiting.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert_eq!(waiting.wait().unwrap().code(), Some(143), "{shell:?}");
        assert!(started.elapsed() < Duration::from_millis(900));
    }
}

#[test]
fn the_script_that_receives_does_not_have_the_keys() {
    for shell in shells() {
        let container = Container::new(&shell);
        let show = r#"echo "$1 $2"; tr '\0' '\n' </proc/$$/environ; :"#;
        let arguments = [show, "sandbox", "one", "two"];
        let output = container.command(CLEAN, &arguments).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.starts_with("one two\n"), "{shell:?}: {text}");
        assert!(text.contains("PATH=") && !text.contains("secret"), "{text}");
    }
}
