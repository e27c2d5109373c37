//! The russh client against the server in one process and one thread.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod support;

use std::time::Duration;

use russh::{ChannelMsg, Sig};
use sandbox_core::KeyPair;
use sandbox_core::command_line::CommandLine;
use sandbox_sshd::EndReason;
use support::client::{LONG, Memory, collect, exec, exec_with, login, open};
use support::{noise, processes_with};
use tokio::io::AsyncWriteExt;

/// Small: what does not fit is the server's own affair.
const PIPE: usize = 64 << 10;

fn line(argv: &[&[u8]]) -> Vec<u8> {
    CommandLine {
        directory: None,
        argv: argv.iter().map(|arg| arg.to_vec()).collect(),
    }
    .encode()
    .unwrap()
}

#[tokio::test]
async fn arguments_are_bytes() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    let odd: &[&[u8]] = &[
        b"printf",
        b"%s\n",
        b"",
        b"-n",
        b"a\nb",
        b"'\"\\$`",
        b"\xff\xfe",
        "ä".as_bytes(),
    ];
    let ended = exec(&client, line(odd)).await;
    assert_eq!(ended.stdout, [&odd[2..].join(&b'\n')[..], b"\n"].concat());
    assert_eq!(ended.code, Some(0));
}

#[tokio::test]
async fn a_command_that_cannot_run_says_why() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    std::fs::write(memory.home.path().join("data"), "x").unwrap();
    std::fs::write(
        memory.home.path().join("script"),
        "#!/no/such/interpreter\n",
    )
    .unwrap();
    std::fs::write(memory.home.path().join("plain"), "echo plain script $1\n").unwrap();
    for name in ["script", "plain"] {
        let path = memory.home.path().join(name);
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
    let memory = Memory::new(|config| config.with_shell("/no/shell"));
    let client = memory.connect(PIPE).await;
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
async fn the_end_of_input_arrives_and_a_lone_reader_does_not_mind_none() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    let channel = open(&client, &[]).await;
    channel.exec(true, "wc -c").await.unwrap();
    channel.data_bytes(vec![b'x'; 300_000]).await.unwrap();
    channel.eof().await.unwrap();
    assert_eq!(collect(channel).await.stdout, b"300000\n");
    // This one takes none of it.
    let channel = open(&client, &[]).await;
    channel.exec(true, "exec 'true'").await.unwrap();
    channel.data_bytes(vec![b'x'; 300_000]).await.unwrap();
    assert_eq!(collect(channel).await.code, Some(0));
}

#[tokio::test]
async fn a_signal_ends_the_whole_group_and_is_reported() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
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
        let gone = tokio::task::spawn_blocking(|| {
            support::eventually(LONG, || processes_with("sleep 1234701").is_empty())
        });
        assert!(gone.await.unwrap(), "{name}");
    }
}

/// Two russh ends that only write deadlock without the server's write-behind buffer.
#[tokio::test]
async fn bulk_both_ways_at_once_does_not_deadlock() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    let data = noise(24 << 20, 3);
    let echo = |seed: usize| {
        let (client, data) = (&client, &data);
        async move {
            let channel = open(client, &[]).await;
            channel.exec(true, "exec 'cat'").await.unwrap();
            let (mut reader, writer) = channel.split();
            let sending = async {
                for part in data.chunks(60_000 + seed) {
                    writer.data_bytes(part.to_vec()).await.unwrap();
                }
                writer.eof().await.unwrap();
            };
            let receiving = async {
                let mut at = 0;
                while let Some(message) = reader.wait().await {
                    if let ChannelMsg::Data { data: part } = message {
                        assert!(data[at..at + part.len()] == part, "wrong bytes after {at}");
                        at += part.len();
                    }
                }
                assert_eq!(at, data.len());
            };
            tokio::join!(sending, receiving);
        }
    };
    let all = async { tokio::join!(echo(1), echo(2), echo(3), echo(4)) };
    tokio::time::timeout(LONG, all).await.expect("deadlock");
}

#[tokio::test]
async fn a_command_that_reads_nothing_holds_up_nobody_and_loses_nothing() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    let data = noise(40 << 20, 9);
    let slow = open(&client, &[]).await;
    slow.exec(
        true,
        "while [ ! -e go ]; do sleep 0.05; done; exec cat > all",
    )
    .await
    .unwrap();
    let all = async {
        for part in data.chunks(32_000) {
            slow.data_bytes(part.to_vec()).await.unwrap();
        }
        slow.eof().await.unwrap();
    };
    tokio::time::timeout(LONG, all)
        .await
        .expect("the server does not take what nobody reads");
    // More than memory keeps lies there now, and others are served.
    assert_eq!(
        exec(&client, "exec 'echo' 'quick'").await.stdout,
        b"quick\n"
    );
    std::fs::write(memory.home.path().join("go"), "").unwrap();
    assert_eq!(collect(slow).await.code, Some(0));
    assert!(std::fs::read(memory.home.path().join("all")).unwrap() == data);
}

/// The client's window messages, and its parts of new keys, lie behind more input than is
/// kept: while output waits for one, reading must go on.
#[tokio::test]
async fn an_echo_that_starts_late_does_not_deadlock() {
    let memory = Memory::new(|config| config);
    let limits = russh::Limits::new(20 << 20, 20 << 20, Duration::from_secs(3600));
    let client = memory
        .connect_as(
            russh::client::Config {
                limits,
                ..Default::default()
            },
            PIPE,
        )
        .await;
    let data = noise(150 << 20, 11);
    let channel = open(&client, &[]).await;
    channel
        .exec(true, "while [ ! -e go ]; do sleep 0.02; done; exec cat")
        .await
        .unwrap();
    let (mut reader, writer) = channel.split();
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let sending = async {
        for part in data.chunks(60_000) {
            writer.data_bytes(part.to_vec()).await.unwrap();
            sent.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
        }
        writer.eof().await.unwrap();
    };
    let starting = async {
        // When the sender has come to a stand.
        let mut before = 1;
        while before != sent.load(std::sync::atomic::Ordering::Relaxed) || before == 0 {
            before = sent.load(std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        std::fs::write(memory.home.path().join("go"), "").unwrap();
        before
    };
    let receiving = async {
        let mut at = 0;
        while let Some(message) = reader.wait().await {
            if let ChannelMsg::Data { data: part } = message {
                assert!(data[at..at + part.len()] == part, "wrong bytes after {at}");
                at += part.len();
            }
        }
        at
    };
    let all = async { tokio::join!(sending, starting, receiving) };
    let ((), kept, received) = tokio::time::timeout(LONG, all).await.expect("deadlock");
    assert_eq!(received, data.len());
    assert!(kept < data.len(), "the sender was held back");
}

#[tokio::test]
async fn a_client_that_reads_nothing_slows_the_command_down() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
    let unread = open(&client, &[]).await;
    // Without backpressure this would be over at once, and in memory.
    unread
        .exec(true, "yes | head -c 300000000; touch over")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!memory.home.path().join("over").exists());
    drop(unread);
}

#[tokio::test]
async fn many_variables_and_many_channels_have_a_limit() {
    let memory = Memory::new(|config| config.with_max_channels(8));
    let client = memory.connect(PIPE).await;
    let names: Vec<String> = (0..500).map(|n| format!("V{n}")).collect();
    let env: Vec<(&str, &str)> = names.iter().map(|name| (&**name, "x")).collect();
    assert_eq!(
        exec_with(&client, &env, "env | grep -c ^V").await.stdout,
        b"500\n"
    );

    let mut open_ones = Vec::new();
    for _ in 0..8 {
        open_ones.push(open(&client, &[]).await);
    }
    assert!(client.channel_open_session().await.is_err());
    open_ones.pop().unwrap().close().await.unwrap();
    assert_eq!(
        exec(&client, "exec 'echo' 'again'").await.stdout,
        b"again\n"
    );
    for _ in 0..30 {
        assert_eq!(
            exec(&client, "exec 'true'").await.code,
            Some(0),
            "a closed channel counts no more"
        );
    }
}

#[tokio::test]
async fn odd_names_of_variables_are_refused() {
    let memory = Memory::new(|config| config);
    let client = memory.connect(PIPE).await;
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

#[tokio::test]
async fn only_the_right_key_gets_in() {
    let memory = Memory::new(|config| config);
    for (user, admitted) in [(&memory.user, true), (&KeyPair::generate().unwrap(), false)] {
        let (near, far) = tokio::io::duplex(PIPE);
        let server = memory.server.clone();
        tokio::spawn(async move { server.serve_stream(far).await });
        assert_eq!(login(near, user).await.is_some(), admitted);
    }
}

#[tokio::test]
async fn a_client_that_never_logs_in_is_cut_off() {
    let memory = Memory::new(|config| config.with_login_grace(Duration::from_millis(200)));
    for said in [
        &b""[..],
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 100_000],
    ] {
        let (mut near, far) = tokio::io::duplex(PIPE);
        let served = memory.server.serve_stream(far);
        let client = async {
            near.write_all(said).await.ok();
            tokio::io::copy(&mut near, &mut tokio::io::sink()).await
        };
        let both = tokio::time::timeout(LONG, async { tokio::join!(served, client) });
        both.await.expect("still served").1.unwrap();
    }
}

#[tokio::test]
async fn a_crowd_at_the_door_does_not_keep_the_owner_out() {
    let memory = Memory::new(|config| config.with_max_pending_logins(4));
    let mut crowd = Vec::new();
    for _ in 0..12 {
        let (near, far) = tokio::io::duplex(PIPE);
        let server = memory.server.clone();
        crowd.push((
            near,
            tokio::spawn(async move { server.serve_stream(far).await }),
        ));
    }
    let client = memory.connect(PIPE).await;
    assert_eq!(exec(&client, "exec 'echo' 'in'").await.stdout, b"in\n");
    let alive = crowd
        .iter()
        .filter(|(_, served)| !served.is_finished())
        .count();
    assert!(alive <= 4, "{alive} are still waiting");
}

#[tokio::test]
async fn the_end_closes_connections_and_ends_commands() {
    let memory = Memory::new(|config| config.with_idle_timeout(Duration::from_millis(300)));
    let socket = memory.home.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = memory.server.clone();
    let serving = tokio::spawn(async move {
        server
            .serve_unix(listener, async { drop(stopped.await) })
            .await
    });
    let client = login(
        tokio::net::UnixStream::connect(&socket).await.unwrap(),
        &memory.user,
    )
    .await
    .unwrap();
    let channel = open(&client, &[]).await;
    channel
        .exec(true, "trap '' TERM HUP; sleep 1234801; sleep 1234801")
        .await
        .unwrap();
    // Longer than the idle limit: a channel is open.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!serving.is_finished());
    stop.send(()).unwrap();
    assert_eq!(
        tokio::time::timeout(LONG, serving).await.unwrap().unwrap(),
        EndReason::Terminated
    );
    assert_eq!(
        collect(channel).await.code,
        None,
        "no exit status was made up"
    );
    assert!(processes_with("sleep 1234801").is_empty());
}

#[tokio::test]
async fn an_idle_server_ends() {
    let memory = Memory::new(|config| config.with_idle_timeout(Duration::from_millis(200)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = memory.server.serve_tcp(listener, std::future::pending());
    assert_eq!(
        tokio::time::timeout(LONG, serving).await.unwrap(),
        EndReason::Idle
    );
}

#[test]
fn what_no_server_can_run_with_is_refused() {
    use sandbox_sshd::{Server, ServerConfig};
    let (host, user) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let home = tempfile::tempdir().unwrap();
    let server = |keys: &[String]| {
        let made = Server::new(ServerConfig::new(
            host.private.clone(),
            keys.to_vec(),
            home.path(),
        ));
        made.map(|_| ()).map_err(|error| error.to_string())
    };
    let good = user.public.as_str().to_owned();
    assert_eq!(server(std::slice::from_ref(&good)), Ok(()));
    assert!(server(&[]).unwrap_err().contains("no one could log in"));
    assert!(
        server(&[good.clone(), "ssh-ed25519 AAAA".into()])
            .unwrap_err()
            .contains("number 2")
    );
    assert!(
        server(&[format!("command=\"id\" {good}")])
            .unwrap_err()
            .contains("options")
    );
}
