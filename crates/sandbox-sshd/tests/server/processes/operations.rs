//! Starting, listing, signalling and resizing.

use sandbox_core::guest::{
    InputTarget, ProcessEnd, ProcessRequest, ProcessSpec, RefusalCode, TerminalSize,
};

use super::{
    Events, PIPE, attach, call, list, open_events, refusal, run, sh, signal, start, wait_for, write,
};
use crate::support::client::{TestSandbox, exec};
use crate::support::processes_with;

#[tokio::test]
async fn a_process_has_its_streams_apart_and_its_end_last() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let spec = sh("echo out; echo err >&2; printf '\\377'; [ -t 0 ] || exit 7");
    let events = run(&client, spec).await;
    let expected = Events {
        stdout: b"out\n\xff".to_vec(),
        stderr: "err\n".to_owned(),
        end: Some(ProcessEnd::Exited(7)),
        ..Events::default()
    };
    assert_eq!(events, expected);
    // Without standard input it reads end of file.
    let events = run(&client, ProcessSpec::new("cat")).await;
    assert_eq!(events.end, Some(ProcessEnd::Exited(0)));
    let many = run(&client, sh("seq 200000")).await;
    assert!(many.stdout.len() == 1_288_895 && many.stdout.ends_with(b"\n200000\n"));
    assert_eq!(many.end, Some(ProcessEnd::Exited(0)));
}

#[tokio::test]
async fn the_environment_is_that_of_commands_and_the_directory_as_asked() {
    let sandbox = TestSandbox::new(|config| config.with_user("me"));
    let home = sandbox.home.path().canonicalize().unwrap();
    std::fs::create_dir_all(home.join("sub/deep")).unwrap();
    std::fs::create_dir(home.join(".sandbox")).unwrap();
    std::fs::write(home.join(".sandbox/environment"), "STORED=1\0MINE=no\0").unwrap();
    std::fs::write(home.join("file"), "").unwrap();
    let client = sandbox.connect(PIPE).await;
    let line = "echo $USER $LOGNAME $STORED $MINE ${SHELL:+shell}; cd \"$HOME\" && pwd -P";
    let events = run(&client, sh(line).env("MINE", "yes")).await;
    let stdout = String::from_utf8(events.stdout).unwrap();
    assert_eq!(stdout, format!("me me 1 yes shell\n{}\n", home.display()));
    for (directory, expected) in [
        (None, Some("")),
        (Some("~"), Some("")),
        (Some("~/sub"), Some("sub")),
        (Some("sub/deep"), Some("sub/deep")),
        (Some("/"), Some("/")),
        (Some("none"), None),
        (Some("file"), None),
        (Some("~root"), None),
    ] {
        let mut spec = ProcessSpec::new("pwd").arg("-P");
        spec.directory = directory.map(Into::into);
        let request = ProcessRequest::Start(Box::new(spec));
        match (open_events(&client, request).await, expected) {
            (Ok(attached), Some(expected)) => {
                let expected = format!("{}\n", home.join(expected).display());
                let expected = expected.replace("/\n", "\n");
                let stdout = String::from_utf8(attached.finish().await.stdout).unwrap();
                assert_eq!(stdout.replace("/\n", "\n"), expected, "{directory:?}");
            }
            (result, None) => {
                let refusal = refusal(result.map(|_| ()));
                assert_eq!(refusal.code, RefusalCode::Invalid, "{directory:?}");
            }
            (Err(error), _) => panic!("{directory:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_an_exit_code_with_a_message() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    for (program, code, message) in [
        ("no-such-program", 127, "command not found"),
        ("/no/such", 127, "no such file"),
        ("/etc/passwd", 126, "Permission denied"),
        ("", 127, "command not found"),
    ] {
        for terminal in [
            None,
            Some(TerminalSize {
                columns: 9,
                rows: 9,
            }),
        ] {
            let mut spec = ProcessSpec::new(program);
            spec.terminal = terminal;
            let attached = start(&client, spec).await;
            assert_eq!(attached.pid, 0);
            let events = attached.finish().await;
            assert_eq!(events.end, Some(ProcessEnd::Exited(code)), "{program:?}");
            let shown = format!("{}{}", events.stderr, events.terminal);
            assert!(shown.contains(message), "{program:?}: {shown}");
            assert_eq!(events.terminal.is_empty(), terminal.is_none());
        }
    }
    assert!(list(&client).await.is_empty());
}

#[tokio::test]
async fn a_list_shows_what_runs_as_it_was_started() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let first = sh("sleep 1234871; :").env("A", "b").tag("t").stdin();
    let second = ProcessSpec::new("sleep").arg("1234872").directory("~");
    let processes = [
        start(&client, first.clone()).await,
        start(&client, second.clone()).await,
    ];
    run(&client, sh("exit 0")).await;
    let listed = list(&client).await;
    let shown: Vec<_> = listed
        .iter()
        .map(|entry| (entry.pid, &entry.spec))
        .collect();
    assert_eq!(
        shown,
        [(processes[0].pid, &first), (processes[1].pid, &second)]
    );
    // The id is the one inside the sandbox, and a signal reaches the group.
    let command = format!("kill -0 {}", processes[0].pid);
    assert_eq!(exec(&client, command).await.code, Some(0));
    for process in processes {
        signal(&client, process.pid, "TERM").await.unwrap();
        let pid = process.pid;
        assert_eq!(
            process.finish().await.end,
            Some(ProcessEnd::Killed("TERM".to_owned()))
        );
        // It is reaped before its end is reported.
        assert_ne!(exec(&client, format!("kill -0 {pid}")).await.code, Some(0));
    }
    assert!(processes_with("sleep 1234871").is_empty());
    assert!(list(&client).await.is_empty());
}

#[tokio::test]
async fn signals_are_checked() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let spec = sh("trap 'echo got' USR1; echo up; while :; do sleep 0.02; done");
    let mut attached = start(&client, spec).await;
    attached.receive_until("up\n").await;
    signal(&client, attached.pid, "USR1").await.unwrap();
    attached.receive_until("got\n").await;
    for name in ["", "9", "NONE", "RTMIN+400", "TERM\0"] {
        let refusal = refusal(signal(&client, attached.pid, name).await);
        assert_eq!(refusal.code, RefusalCode::Invalid, "{name:?}");
    }
    signal(&client, attached.pid, "KILL").await.unwrap();
    let pid = attached.pid;
    let end = attached.finish().await.end;
    assert_eq!(end, Some(ProcessEnd::Killed("KILL".to_owned())));
    for pid in [pid, 999_999_999] {
        let refusal = refusal(signal(&client, pid, "TERM").await);
        assert_eq!(refusal.code, RefusalCode::NotFound);
    }
}

#[tokio::test]
async fn a_terminal_has_its_size_from_the_start_and_is_resized() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let size = TerminalSize {
        columns: 91,
        rows: 17,
    };
    let script = "stty size; test -t 0 && test -t 2 && echo $TERM; [ \"$SSH_TTY\" = \"$(tty)\" ] && echo tty; \
        read line; stty size; echo \"<$line>\"; exit 4";
    let mut attached = start(&client, sh(script).terminal(size)).await;
    let pid = attached.pid;
    while !attached.events.terminal.contains("tty\r\n") {
        assert!(attached.receive().await, "{:?}", attached.events);
    }
    assert_eq!(
        attached.events.terminal,
        "17 91\r\nxterm-256color\r\ntty\r\n"
    );
    let resize = |pid: u32, columns| ProcessRequest::Resize {
        process: pid.into(),
        size: TerminalSize { columns, rows: 2 },
    };
    call(&client, resize(pid, 33)).await.unwrap();
    for target in [InputTarget::Stdin, InputTarget::Terminal] {
        let written = write(&client, pid, target, b"typed\n").await;
        assert_eq!(written.is_ok(), target == InputTarget::Terminal);
    }
    let events = attached.finish().await;
    assert!(
        events.terminal.ends_with("2 33\r\n<typed>\r\n"),
        "{events:?}"
    );
    assert_eq!(events.end, Some(ProcessEnd::Exited(4)));
    let refused = refusal(call(&client, resize(pid, 1)).await);
    assert_eq!(refused.code, RefusalCode::NotFound);
    // A process without a terminal has no size, and its own variables are not overridden.
    let attached = start(&client, ProcessSpec::new("sleep").arg("1234803")).await;
    let refused = refusal(call(&client, resize(attached.pid, 1)).await);
    assert_eq!(refused.code, RefusalCode::Invalid);
    signal(&client, attached.pid, "SIGKILL").await.unwrap();
    let spec = sh("echo $TERM").env("TERM", "dumb").terminal(size);
    assert_eq!(run(&client, spec).await.terminal, "dumb\r\n");
}

#[tokio::test]
async fn a_tag_finds_the_process_that_started_last() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let spec = |time: &str| ProcessSpec::new("sleep").arg(time).tag("same");
    let first = start(&client, spec("1234804")).await;
    let second = start(&client, spec("1234805")).await;
    assert_eq!(attach(&client, "same").await.unwrap().pid, second.pid);
    let refused = refusal(attach(&client, "other").await.map(|_| ()));
    assert_eq!(refused.code, RefusalCode::NotFound);
    for process in [first, second] {
        signal(&client, process.pid, "KILL").await.unwrap();
        process.finish().await;
    }
    wait_for("an empty list", async || list(&client).await.is_empty()).await;
}
