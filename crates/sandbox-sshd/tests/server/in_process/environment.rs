//! What a command finds: variables, shell, standard streams.

use sandbox_core::{Notice, environment_file, protocol};

use super::PIPE;
use crate::support::client::{LONG, TestSandbox, collect, exec, exec_with, open};

fn store(sandbox: &TestSandbox, text: &[u8]) {
    std::fs::create_dir_all(sandbox.home.path().join(".sandbox")).unwrap();
    std::fs::write(sandbox.home.path().join(environment_file::PATH), text).unwrap();
}

#[tokio::test]
async fn stored_values_may_have_line_feeds() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    store(&sandbox, b"KEY=first\nsecond\n\0OTHER=\xff\0");
    let ended = exec(&client, "printf '%s|%s' \"$KEY\" \"$OTHER\"").await;
    assert_eq!(ended.stdout, b"first\nsecond\n|\xff");
}

#[tokio::test]
async fn a_file_with_too_much_does_not_prevent_commands() {
    let sandbox = TestSandbox::new(|config| config);
    let (client, sdk) = (sandbox.connect(PIPE).await, sandbox.connect_as_sdk().await);
    let huge = "x".repeat(1_900_000);
    store(&sandbox, format!("A=1\nB={huge}\n").as_bytes());
    let ended = exec(&sdk, "exec 'printenv' 'A'").await;
    assert_eq!((&*ended.stdout, &*ended.stderr), (&b"1\n"[..], ""));
    assert_eq!(ended.notices, [Notice::EnvironmentTruncated]);
    let ended = exec(&client, "exec 'printenv' 'A'").await;
    assert!(ended.stderr.contains(".sandbox/environment"), "{ended:?}");
    assert_eq!(ended.stdout, b"1\n");
    // The largest that is used leaves room for arguments.
    let value = "x".repeat(environment_file::MAX_VARIABLE - 4);
    store(&sandbox, format!("A={value}\nB={value}\n").as_bytes());
    let argument = "y".repeat(100_000);
    let ended = exec(
        &sdk,
        format!("echo {argument} | wc -c; echo ${{#A}} ${{#B}}"),
    )
    .await;
    let expected = format!("100001\n{0} {0}\n", value.len());
    assert_eq!(
        (&*ended.stdout, &*ended.notices),
        (expected.as_bytes(), &[][..])
    );
    store(&sandbox, b"");
    assert_eq!(exec(&sdk, "exec 'true'").await.notices, []);
}

#[tokio::test]
async fn shell_is_set() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    for command in ["exec 'printenv' 'SHELL'", "echo $SHELL"] {
        let shown = String::from_utf8(exec(&client, command).await.stdout).unwrap();
        assert!(
            std::path::Path::new(shown.trim_end()).is_file(),
            "{shown:?}"
        );
    }
    let login = open(&client, &[]).await;
    login.request_shell(true).await.unwrap();
    login.data_bytes("echo $SHELL\n").await.unwrap();
    login.eof().await.unwrap();
    assert!(collect(login).await.stdout.starts_with(b"/"));
    // A shell that was chosen is kept.
    let ended = exec_with(&client, &[("SHELL", "/bin/cat")], "exec 'printenv' 'SHELL'").await;
    assert_eq!(ended.stdout, b"/bin/cat\n");
    let sandbox = TestSandbox::new(|config| config.with_shell("/bin/sh"));
    let client = sandbox.connect(PIPE).await;
    assert_eq!(
        exec(&client, "exec 'printenv' 'SHELL'").await.stdout,
        b"/bin/sh\n"
    );
}

/// sshd(8) sets it to the device of the terminal, and leaves it unset where there is none.
#[tokio::test]
async fn ssh_tty_names_the_terminal() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let show = "test \"$SSH_TTY\" = \"$(tty)\" && echo same; echo ${SSH_TTY-unset}";
    let channel = open(&client, &[]).await;
    channel
        .request_pty(true, "dumb", 80, 24, 0, 0, &[])
        .await
        .unwrap();
    channel.exec(true, show).await.unwrap();
    let shown = String::from_utf8(collect(channel).await.stdout).unwrap();
    assert!(shown.starts_with("same\r\n/dev/"), "{shown:?}");
    assert_eq!(exec(&client, show).await.stdout, b"unset\n");
}

/// Programs that do not expect it lose data on a stream that is non-blocking.
#[tokio::test]
async fn standard_streams_are_blocking() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let flags = "for n in 0 1 2; do grep flags /proc/self/fdinfo/$n >>flags; done; :";
    let check = |kind: &str| {
        let file = sandbox.home.path().join("flags");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_eq!(text.lines().count(), 3, "{kind}: {text}");
        for line in text.lines() {
            let flags = line.split_whitespace().nth(1).unwrap();
            let flags = i32::from_str_radix(flags, 8).unwrap();
            assert_eq!(
                flags & nix::fcntl::OFlag::O_NONBLOCK.bits(),
                0,
                "{kind}: {text}"
            );
        }
    };
    exec(&client, flags).await;
    check("pipes");
    let terminal = open(&client, &[]).await;
    terminal
        .request_pty(true, "dumb", 80, 24, 0, 0, &[])
        .await
        .unwrap();
    terminal.exec(true, flags).await.unwrap();
    collect(terminal).await;
    check("terminal");
    exec_with(
        &client,
        &[("SANDBOX_JOB", "j")],
        format!("{flags}; touch done"),
    )
    .await;
    let done = sandbox.home.path().join("done");
    let ended =
        tokio::task::spawn_blocking(move || crate::support::wait_until(LONG, || done.exists()));
    assert!(ended.await.unwrap());
    check("job");
}

/// A server without a login name has that of its user, as far as it has one.
#[tokio::test]
async fn the_name_of_the_user_is_that_of_the_system() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let ended = exec_with(&client, &[], "echo $USER $LOGNAME").await;
    let own = nix::unistd::User::from_uid(nix::unistd::geteuid()).unwrap();
    let name = own.map_or_else(|| "sandbox".to_owned(), |user| user.name);
    assert_eq!(
        String::from_utf8(ended.stdout).unwrap(),
        format!("{name} {name}\n")
    );
}

/// Clients that do not wait for the reply must not run a command as somebody else than they asked for.
#[tokio::test]
async fn a_command_without_its_user_does_not_run() {
    let sandbox = TestSandbox::new(|config| config.with_user("me"));
    let client = sandbox.connect(PIPE).await;
    let run_as = |user| [(protocol::RUN_AS, user)];
    let line = "env; touch ran";
    for user in ["no such user", "", "root:x"] {
        let ended = exec_with(&client, &run_as(user), line).await;
        assert_eq!(ended.code, Some(126), "{ended:?}");
        assert!(ended.stderr.contains("no such user"), "{ended:?}");
    }
    assert!(!sandbox.home.path().join("ran").exists());
    let ended = exec_with(&client, &run_as("me"), line).await;
    let variables = String::from_utf8(ended.stdout).unwrap();
    assert!(variables.contains("USER=me\n") && !variables.contains(protocol::RUN_AS));
    assert!(sandbox.home.path().join("ran").exists());
}
