//! Commands: arguments, start errors, input, signals and variables.

use russh::{ChannelMsg, Sig};
use sandbox_core::command_line::CommandLine;
use sandbox_core::protocol;

use super::PIPE;
use crate::support::client::{LONG, TestSandbox, collect, exec, exec_with, open};
use crate::support::{self, processes_with};

fn encode(argv: &[&[u8]]) -> Vec<u8> {
    CommandLine {
        directory: None,
        argv: argv.iter().map(|arg| arg.to_vec()).collect(),
    }
    .encode()
    .unwrap()
}

#[tokio::test]
async fn arguments_are_bytes() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let argv: &[&[u8]] = &[
        b"printf",
        b"%s\n",
        b"",
        b"-n",
        b"a\nb",
        b"'\"\\$`",
        b"\xff\xfe",
        "ä".as_bytes(),
    ];
    let ended = exec(&client, encode(argv)).await;
    assert_eq!(ended.stdout, [&argv[2..].join(&b'\n')[..], b"\n"].concat());
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn a_command_that_cannot_start_reports_the_reason() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    std::fs::write(sandbox.home.path().join("data"), "x").unwrap();
    std::fs::write(
        sandbox.home.path().join("script"),
        "#!/no/such/interpreter\n",
    )
    .unwrap();
    std::fs::write(sandbox.home.path().join("plain"), "echo plain script $1\n").unwrap();
    for name in ["script", "plain"] {
        let path = sandbox.home.path().join(name);
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
    }
    for (command, code, message) in [
        ("exec 'no-such'", 127, "no-such: command not found"),
        ("exec ''", 127, "command not found"),
        ("exec './none'", 127, "./none: no such file"),
        ("exec './data'", 126, "Permission denied"),
        ("exec '/'", 126, "Is a directory"),
        ("exec './script'", 126, "interpreter"),
        ("cd -- 'data' && exec 'true'", 126, "data: Not a directory"),
        ("cd -- 'none' && exec 'true'", 126, "none: No such file"),
        ("exec 'a\0b'", 126, "NUL"),
        ("echo a\0b", 126, "NUL"),
    ] {
        let ended = exec(&client, command).await;
        assert_eq!(ended.code, Some(code), "{command:?} {ended:?}");
        assert!(
            ended.stderr.starts_with("sandbox-sshd: ") && ended.stderr.contains(message),
            "{command:?} {ended:?}"
        );
    }
    assert_eq!(
        exec(&client, "exec './plain' 'one'").await.stdout,
        b"plain script one\n"
    );
}

#[tokio::test]
async fn without_a_shell_only_programs_run() {
    let sandbox = TestSandbox::new(|config| config.with_shell("/no/shell"));
    let client = sandbox.connect(PIPE).await;
    let ended = exec(&client, "echo hi").await;
    assert_eq!(ended.code, Some(127));
    assert!(
        ended
            .stderr
            .contains("there is no shell in this image (/no/shell)"),
        "{ended:?}"
    );
    assert_eq!(exec(&client, "exec 'echo' 'hi'").await.stdout, b"hi\n");
}

#[tokio::test]
async fn the_end_of_input_arrives_even_if_the_command_reads_nothing() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let channel = open(&client, &[]).await;
    channel.exec(true, "wc -c").await.unwrap();
    channel.data_bytes(vec![b'x'; 300_000]).await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(collect(channel).await.stdout, b"300000\n");
    // This command reads nothing.
    let channel = open(&client, &[]).await;
    channel.exec(true, "exec 'true'").await.unwrap();
    channel.data_bytes(vec![b'x'; 300_000]).await.unwrap();
    assert_eq!(collect(channel).await.code, Some(0));
}

#[tokio::test]
async fn a_signal_ends_the_whole_group_and_is_reported() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    for (signal, name) in [
        (Sig::TERM, "TERM"),
        (Sig::KILL, "KILL"),
        (Sig::Custom("USR2".into()), "Custom(\"USR2\")"),
        (Sig::Custom("SYS".into()), "Custom(\"SYS\")"),
    ] {
        let mut channel = open(&client, &[]).await;
        channel
            .exec(false, "sleep 1234701 & echo ready; wait")
            .await
            .unwrap();
        while !matches!(channel.wait().await, Some(ChannelMsg::Data { .. })) {}
        channel.signal(signal).await.unwrap();
        assert_eq!(collect(channel).await.signal.as_deref(), Some(name));
        let ended = tokio::task::spawn_blocking(|| {
            support::wait_until(LONG, || processes_with("sleep 1234701").is_empty())
        });
        assert!(ended.await.unwrap(), "{name}");
    }
}

#[tokio::test]
async fn variables_and_channels_have_a_limit() {
    let sandbox = TestSandbox::new(|config| config.with_max_channels(8));
    let client = sandbox.connect(PIPE).await;
    let names: Vec<String> = (0..500).map(|n| format!("V{n}")).collect();
    let env: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "x")).collect();
    assert_eq!(
        exec_with(&client, &env, "env | grep -c ^V").await.stdout,
        b"500\n"
    );

    let mut channels = Vec::new();
    for _ in 0..8 {
        channels.push(open(&client, &[]).await);
    }
    assert!(client.channel_open_session().await.is_err());
    channels.pop().unwrap().close().await.unwrap();
    assert_eq!(exec(&client, "exec 'echo' 'next'").await.stdout, b"next\n");
    for _ in 0..30 {
        assert_eq!(
            exec(&client, "exec 'true'").await.code,
            Some(0),
            "a closed channel does not count"
        );
    }
}

/// More than one packet of SSH takes.
#[tokio::test]
async fn a_long_command_line_arrives_in_parts() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let mut line = b"exec 'printf' '%s|'".to_vec();
    let mut expected = Vec::new();
    for n in 0..40_u8 {
        let word = vec![b'\x80' + n; 10_000];
        line.extend(b" '");
        line.extend(&word);
        line.push(b'\'');
        expected.extend(word);
        expected.push(b'|');
    }
    let parts: Vec<String> = line
        .chunks(50_000)
        .map(protocol::encode_command_part)
        .collect();
    let (last, first) = parts.split_last().unwrap();
    let env: Vec<_> = first
        .iter()
        .map(|part| (protocol::COMMAND_PART, part.as_str()))
        .collect();
    let last = protocol::decode_command_part(last).unwrap();
    assert!(exec_with(&client, &env, last).await.stdout == expected);
}

#[tokio::test]
async fn a_command_that_is_too_long_is_refused_with_the_limit() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    // A word, all words, and more than the server keeps.
    let part = "x".repeat(100_000);
    for (count, separator, limit) in [(2, "", "128 KiB"), (60, "' '", "2 MiB"), (90, "", "8 MiB")] {
        let part = format!("{part}{separator}");
        let first = format!("exec 'true' '{part}");
        let mut env = vec![(protocol::COMMAND_PART, first.as_str())];
        env.extend((1..count).map(|_| (protocol::COMMAND_PART, part.as_str())));
        let ended = exec_with(&client, &env, "'").await;
        assert_eq!(ended.code, Some(126), "{ended:?}");
        assert!(ended.stderr.contains(limit), "{limit}: {}", ended.stderr);
    }
    // So is an environment.
    let names: Vec<String> = (0..90).map(|n| format!("V{n}")).collect();
    let env: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), part.as_str()))
        .collect();
    let ended = exec_with(&client, &env, "exec 'true'").await;
    assert!(
        ended.code == Some(126) && ended.stderr.contains("8 MiB"),
        "{ended:?}"
    );
    assert_eq!(exec(&client, "exec 'echo' 'next'").await.stdout, b"next\n");
}

#[tokio::test]
async fn invalid_and_reserved_variables_are_refused() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let env = [
        ("A=B", "x"),
        ("", "x"),
        ("N\0", "x"),
        ("M", "\0"),
        ("SANDBOX_SSHD_KEY", "x"),
        ("SANDBOX_JOB_FOLLOW", "1"),
        ("GOOD", "ü"),
    ];
    let out = String::from_utf8(exec_with(&client, &env, "env").await.stdout).unwrap();
    assert!(out.contains("GOOD=ü\n"), "{out}");
    for bad in ["A=B", "N=", "M=", "SANDBOX_"] {
        assert!(!out.contains(bad), "{out}");
    }
}
