//! Files that can be executed at a second attempt only, or not at all, with and without a terminal.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::PIPE;
use crate::support::client::{Client, Ended, TestSandbox, collect, exec, open};

#[tokio::test]
async fn a_program_that_is_open_for_writing_starts_once_it_is_closed() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let path = sandbox.home.path().join("busy");
    std::fs::copy("/bin/true", &path).unwrap();
    for in_terminal in [false, true] {
        let writer = File::options().write(true).open(&path).unwrap();
        let closing = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(writer);
        };
        let (ended, ()) = tokio::join!(start(&client, "exec './busy'", in_terminal), closing);
        assert_eq!(ended.code, Some(0), "{in_terminal} {ended:?}");
    }
}

#[tokio::test]
async fn a_program_that_stays_open_for_writing_is_reported_as_busy() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let path = sandbox.home.path().join("busy");
    std::fs::copy("/bin/true", &path).unwrap();
    let _writer = File::options().write(true).open(&path).unwrap();
    for in_terminal in [false, true] {
        let ended = start(&client, "exec './busy'", in_terminal).await;
        assert_eq!(ended.code, Some(126), "{ended:?}");
        let text = String::from_utf8_lossy(&ended.stdout).into_owned() + &ended.stderr;
        assert!(text.contains("Text file busy"), "{ended:?}");
    }
}

#[tokio::test]
async fn a_script_without_an_interpreter_line_runs_in_a_terminal_too() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    write_program(
        &sandbox.home.path().join("plain"),
        b"test -t 0; echo plain $?\n",
    );
    for (in_terminal, expected) in [(false, "plain 1\n"), (true, "plain 0\r\n")] {
        let ended = start(&client, "exec './plain'", in_terminal).await;
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            expected,
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn a_binary_for_another_processor_is_not_run_as_a_script() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    // A machine that no kernel has (e_machine of elf(5)).
    write_program(&sandbox.home.path().join("foreign"), &elf(2, 0xfefe));
    let ended = exec(&client, "exec './foreign'").await;
    assert_eq!(ended.code, Some(126), "{ended:?}");
    assert!(
        ended.stderr.contains("not a program for this architecture"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_32_bit_program_is_refused_in_words_where_it_cannot_run() {
    let sandbox = TestSandbox::new(|config| config.with_64_bit_programs_only());
    let client = sandbox.connect(PIPE).await;
    write_program(&sandbox.home.path().join("narrow"), &elf(1, 3));
    write_program(&sandbox.home.path().join("script"), b"#!narrow\n");
    for (command, message) in [
        (
            "exec './narrow'",
            "/narrow is a 32-bit program, and this sandbox runs 64-bit programs only",
        ),
        ("exec './script'", "/narrow is a 32-bit program"),
    ] {
        let ended = exec(&client, command).await;
        assert_eq!(ended.code, Some(126), "{ended:?}");
        assert!(ended.stderr.contains(message), "{ended:?}");
    }
    assert_eq!(exec(&client, "exec 'true'").await.code, Some(0));
}

async fn start(client: &Client, line: &str, in_terminal: bool) -> Ended {
    let channel = open(client, &[]).await;
    if in_terminal {
        channel
            .request_pty(true, "xterm", 80, 24, 0, 0, &[])
            .await
            .unwrap();
    }
    channel.exec(true, line).await.unwrap();
    collect(channel).await
}

/// Returns the header of an ELF file of this class for this machine.
fn elf(class: u8, machine: u16) -> Vec<u8> {
    let mut header = b"\x7fELF".to_vec();
    header.extend([class, 1, 1]);
    header.resize(16, 0);
    header.extend(2_u16.to_le_bytes());
    header.extend(machine.to_le_bytes());
    header.resize(128, 0);
    header
}

fn write_program(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}
