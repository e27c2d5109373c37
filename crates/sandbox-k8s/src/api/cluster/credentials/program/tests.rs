use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

fn program(entry: &str) -> Result<CredentialProgram, CredentialError> {
    let exec: ExecConfig = serde_saphyr::from_str(entry).unwrap();
    CredentialProgram::from_kubeconfig(&exec)
}

/// A program that runs a shell script.
fn script(text: &str) -> CredentialProgram {
    let entry = serde_json::json!({
        "apiVersion": API_VERSIONS[0],
        "command": "sh",
        "args": ["-c", text, "secret-argument"],
        "interactiveMode": "Never",
    });
    program(&entry.to_string()).unwrap()
}

/// A script that returns the standard output of `command` as the token.
fn return_output_of(command: &str) -> String {
    format!(r#"printf '{{"status": {{"token": "%s"}}}}' "$({command})""#)
}

async fn token_of(program: &CredentialProgram) -> String {
    let returned = program.run(Terminal::InUse, LIMIT).await;
    match returned {
        Ok(returned) => returned.token.unwrap(),
        Err(error) => panic!("{error}"),
    }
}

async fn error_of(program: &CredentialProgram) -> String {
    let returned = program.run(Terminal::InUse, LIMIT).await;
    returned.err().unwrap().to_string()
}

fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_program_has_no_input_and_its_own_environment() {
    assert_eq!(
        token_of(&script(&return_output_of("cat; echo end"))).await,
        "end"
    );
    let mut with_variables = script(&return_output_of("echo $ADDED,$EMPTY,${HOME:+home}"));
    with_variables.environment = vec![
        ("ADDED".into(), "a b".into()),
        ("EMPTY".into(), String::new()),
    ];
    assert_eq!(token_of(&with_variables).await, "a b,,home");
}

#[tokio::test]
async fn a_program_is_told_its_input() {
    let directory = tempfile::tempdir().unwrap();
    let seen = directory.path().join("seen");
    let mut informed = script(&format!(
        "printf %s \"$KUBERNETES_EXEC_INFO\" > {}; {}",
        seen.display(),
        return_output_of("echo t")
    ));
    informed.cluster = Some(serde_json::json!({"server": "https://c"}));
    // The protocol's variable cannot be overridden by the kubeconfig.
    informed.environment = vec![("KUBERNETES_EXEC_INFO".into(), "other".into())];
    assert_eq!(token_of(&informed).await, "t");
    let input: Value = serde_json::from_slice(&std::fs::read(seen).unwrap()).unwrap();
    assert_eq!(input["apiVersion"], API_VERSIONS[0]);
    assert_eq!(
        input["spec"],
        serde_json::json!({"interactive": false, "cluster": {"server": "https://c"}})
    );
}

#[test]
fn entries_without_a_command_or_a_known_version_are_refused() {
    for (entry, expected) in [
        ("{}", "has no command"),
        ("{command: ''}", "has no command"),
        (
            "{command: aws}",
            "aws, the credential program of the kubeconfig, has no apiVersion",
        ),
        (
            "{command: aws, apiVersion: v1}",
            "unknown apiVersion v1; use client.authentication.k8s.io/v1",
        ),
    ] {
        let error = program(entry).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for version in API_VERSIONS {
        assert!(
            program(&format!(
                "{{command: aws, apiVersion: {version}, args: null, env: null}}"
            ))
            .is_ok()
        );
    }
    let entry = "{command: aws, apiVersion: client.authentication.k8s.io/v1, \
                 env: [{name: A, value: b}, {name: C}, {value: d}]}";
    let read = program(entry).unwrap();
    assert_eq!(
        read.environment,
        [("A".into(), "b".into()), ("C".into(), String::new())]
    );
    assert_eq!(read.mode, ExecInteractiveMode::IfAvailable);
}

#[test]
fn only_a_terminal_that_is_not_in_use_is_given_to_a_program() {
    use ExecInteractiveMode::{Always, IfAvailable, Never};
    use Terminal::{Available, InUse};
    for (mode, terminal, has_terminal, expected) in [
        (Never, Available, true, Some(false)),
        (Never, Available, false, Some(false)),
        (IfAvailable, Available, true, Some(true)),
        (IfAvailable, Available, false, Some(false)),
        (IfAvailable, InUse, true, Some(false)),
        (Always, Available, true, Some(true)),
        (Always, Available, false, None),
        (Always, InUse, true, None),
        (Always, InUse, false, None),
    ] {
        let mut program = script("");
        program.mode = mode.clone();
        let decided = program.is_interactive(terminal, has_terminal);
        assert_eq!(
            decided.ok(),
            expected,
            "{mode:?} {terminal:?} {has_terminal}"
        );
    }
}

#[tokio::test]
async fn errors_name_the_program_and_repeat_nothing_of_its_output() {
    for (text, expected) in [
        (
            "echo secret-out; echo secret-err >&2; exit 3",
            "failed with exit status: 3",
        ),
        ("echo secret-out", "wrote no credentials"),
        ("kill -9 $$", "failed with signal: 9"),
        ("head -c 2000000 /dev/zero", "wrote more than 1048576 bytes"),
    ] {
        let error = error_of(&script(text)).await;
        assert!(
            error.starts_with(
                "the cluster's credentials: sh, the credential program of the kubeconfig, "
            ) && error.contains(expected)
                && !error.contains("secret-"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_missing_program_is_reported_with_its_hint() {
    let mut missing = script("");
    missing.command = "no-such-login".into();
    let error = error_of(&missing).await;
    assert!(
        error.contains(
            "no-such-login, the credential program of the kubeconfig, cannot be started: "
        ) && error.ends_with("; install it, or write its path into the kubeconfig"),
        "{error}"
    );
    missing.install_hint = Some("Install it with\n\n  brew install login\n".into());
    let error = error_of(&missing).await;
    assert!(
        error.ends_with("; Install it with brew install login"),
        "{error}"
    );
}

#[tokio::test]
async fn a_program_that_does_not_finish_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let slow = script(&format!("echo $$ > {}; exec sleep 60", pid.display()));
    let begun = Instant::now();
    // At a terminal there is more time, so the limit is that of the caller.
    let run = slow.run(Terminal::InUse, Duration::from_secs(1));
    let error = match tokio::time::timeout(Duration::from_secs(3), run).await {
        Ok(returned) => returned.err().unwrap().to_string(),
        Err(_attended) => "has not finished within".into(),
    };
    assert!(error.contains("has not finished within"), "{error}");
    let pid = std::fs::read_to_string(pid).unwrap();
    let process = Path::new("/proc").join(pid.trim());
    while process.join("cmdline").exists()
        && std::fs::read(process.join("cmdline")).is_ok_and(|line| !line.is_empty())
    {
        assert!(begun.elapsed() < LIMIT, "it still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_program_is_searched_for_in_the_path_and_not_here() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    for name in ["one", "two"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    write_program(&at("two/login"), "");
    std::fs::write(at("one/login"), "not executable").unwrap();
    let path =
        std::env::join_paths([Path::new("."), Path::new(""), &at("one"), &at("two")]).unwrap();
    assert_eq!(find_program("login", Some(&path)), at("two/login"));
    assert_eq!(find_program("./login", Some(&path)), "./login");
    assert_eq!(find_program("other", Some(&path)), "other");
    assert_eq!(find_program("login", None), "login");
}
