//! Reads whole files with mistakes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use sandbox_config::Settings;
use sandbox_core::Error;

fn mistakes(content: impl AsRef<[u8]>) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(".env");
    std::fs::write(&path, content).unwrap();
    match Settings::from_dotenv(&path) {
        Err(Error::Config { message }) => (message, path.display().to_string()),
        other => panic!("{other:?}"),
    }
}

const TEN: &str = r#"# A file with ten mistakes.
DATABASE_URL=postgres://app:hunter2@db/app
SANDBOX_CPU=hunter2
SANDBOX_MEMORY=512MB
SANDBOX_TTL=30
SANDBOX_MEMROY=1Gi
SANDBOX_LOCAL_SERVER=/tmp/hunter2
SANDBOX_LOCAL_ISOLATION=none
SANDBOX_TRANSPORT=carrier-pigeon hunter2
this line is hunter2
SANDBOX_SSH_PORT=65536
SANDBOX_IMAGE=evil.example/$HOME
SANDBOX_NAMESPACE=fine
"#;

#[test]
fn ten_mistakes_are_ten_lines_without_the_files_content() {
    let (message, path) = mistakes(TEN);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines[0], "10 settings are wrong:", "{message}");
    assert_eq!(lines.len(), 11, "{message}");
    for (line, key) in [
        (3, "SANDBOX_CPU"),
        (4, "SANDBOX_MEMORY"),
        (5, "SANDBOX_TTL"),
        (6, "did you mean SANDBOX_MEMORY?"),
        (7, "SANDBOX_LOCAL_SERVER may not"),
        (8, "SANDBOX_LOCAL_ISOLATION may not"),
        (9, "SANDBOX_TRANSPORT cannot be read"),
        (10, "cannot be read"),
        (11, "SANDBOX_SSH_PORT"),
        (12, "contains a '$'"),
    ] {
        let shown = lines[line - 2];
        assert!(
            shown
                .trim_start()
                .starts_with(&format!("{path} line {line}"))
                && shown.contains(key),
            "{shown}"
        );
    }
    assert!(
        !message.contains("hunter2") && !message.contains("pigeon") && !message.contains("512MB")
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Settings::from_dotenv("/nowhere/.env").unwrap_err();
    assert!(matches!(&error, Error::Config { .. }));
    assert!(
        error
            .to_string()
            .starts_with("cannot read /nowhere/.env: No such file"),
        "{error}"
    );
}

#[test]
fn endless_and_binary_files_are_refused() {
    let error = Settings::from_dotenv("/dev/zero").unwrap_err();
    assert!(error.to_string().contains("larger than 1 MiB"), "{error}");
    let (message, _) = mistakes([b"\x7fELF\x00\xff\xfe=\n".as_slice(), &[0x80; 100]].concat());
    assert!(
        message.contains("2 settings are wrong") && message.contains("is not UTF-8 text"),
        "{message}"
    );
}

#[test]
fn windows_files_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings");
    std::fs::write(
        &path,
        "\u{feff}SANDBOX_NAMESPACE=ml\r\n\r\n# c\r\nSANDBOX_PIDS=7\r\n",
    )
    .unwrap();
    let settings = Settings::from_dotenv(&path).unwrap();
    assert_eq!(
        (
            settings.kubernetes.namespace.as_deref(),
            settings.resources.pids
        ),
        (Some("ml"), Some(7))
    );
}
