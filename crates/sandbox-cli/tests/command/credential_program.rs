//! A kubeconfig's credential program, which shares the terminal with the command but not its input.

#![cfg(unix)]

use crate::support::terminal::Terminal;
use crate::support::{Cli, code, stderr};

/// A program that reads one line of input, writes to stderr, and fails, so that no cluster is needed.
const PROGRAM: &str = "#!/bin/sh
read line && printf %s \"$line\" > read
printf %s \"$KUBERNETES_EXEC_INFO\" > info
echo words-for-a-person >&2
exit 3
";

/// Writes a kubeconfig with this program.
fn kubeconfig(cli: &Cli, mode: &str) -> std::path::PathBuf {
    cli.add_program("login", PROGRAM);
    cli.write(
        "kubeconfig",
        format!(
            "current-context: x
clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
users:
- name: u
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: ./bin/login
      interactiveMode: {mode}
      installHint: Install login from https://login.example.com
"
        ),
    )
}

#[test]
fn input_that_is_not_a_terminal_is_left_to_the_command() {
    let cli = Cli::new();
    let kubeconfig = kubeconfig(&cli, "IfAvailable");
    let data = cli.write("data", "data\n");
    let run = || {
        cli.command(["run", "--", "cat"])
            .env("SANDBOX_BACKEND", "k8s")
            .env("SANDBOX_KUBECONFIG", &kubeconfig)
            .stdin(std::fs::File::open(&data).unwrap())
            .output()
            .unwrap()
    };
    let output = run();
    let message = stderr(&output);
    assert_eq!(code(&output), 125, "{message}");
    let program = cli.path("bin/login");
    assert!(
        message.contains(&format!("{}, the credential program", program.display()))
            && message.contains("failed with exit status: 3; run kubectl to see its message"),
        "{message}"
    );
    assert!(!message.contains("words-for-a-person"), "{message}");
    assert!(!cli.path("read").exists());
    let info = std::fs::read_to_string(cli.path("info")).unwrap();
    assert!(info.contains("\"interactive\":false"), "{info}");

    std::fs::remove_file(program).unwrap();
    let message = stderr(&run());
    assert!(
        message.contains("cannot be started: ")
            && message.contains("; Install login from https://login.example.com"),
        "{message}"
    );
}

#[test]
fn a_program_that_must_ask_needs_a_terminal() {
    let cli = Cli::new();
    let output = cli
        .command(["ls"])
        .env("SANDBOX_BACKEND", "k8s")
        .env("SANDBOX_KUBECONFIG", kubeconfig(&cli, "Always"))
        .output()
        .unwrap();
    assert_eq!(code(&output), 125);
    let message = stderr(&output);
    assert!(
        message.contains("the standard input is not a terminal"),
        "{message}"
    );
    assert!(!cli.path("info").exists(), "it was not started");
}

#[test]
fn a_person_at_a_terminal_is_asked_and_sees_its_messages() {
    let (cli, mut terminal) = (Cli::new(), Terminal::open(200, 24));
    let config = kubeconfig(&cli, "IfAvailable");
    let mut command = terminal.command(&cli, &["ls"]);
    command
        .env("SANDBOX_BACKEND", "k8s")
        .env("SANDBOX_KUBECONFIG", config);
    let mut child = command.spawn().unwrap();
    terminal.type_keys("answer\r");
    terminal.wait_for("words-for-a-person");
    terminal.wait_for("see its message above");
    assert_eq!(child.wait().unwrap().code(), Some(125));
    assert_eq!(std::fs::read_to_string(cli.path("read")).unwrap(), "answer");
    let info = std::fs::read_to_string(cli.path("info")).unwrap();
    assert!(info.contains("\"interactive\":true"), "{info}");
}
