//! `sandbox mcp` as a client starts it, and `sandbox mcp install`.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Cli, code, stderr, stdout};

/// The first messages of a client: it begins a session and uses a sandbox.
const MESSAGES: &str = concat!(
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"#,
    r#""clientInfo":{"name":"test","version":"1"}}}"#,
    "\n",
    r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    "\n",
    r#"{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"command_run","arguments":{"command":"echo hi"}}}"#,
    "\n"
);

#[test]
fn a_client_that_closes_its_end_has_its_answers_and_leaves_nothing() {
    let cli = Cli::new();
    let output = cli.run_with_input(["mcp"], MESSAGES.as_bytes());
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    // Nothing but messages, one a line.
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0]["result"]["serverInfo"]["name"], "sandbox");
    assert_eq!(
        lines[1]["result"]["structuredContent"]["output"], "hi\n",
        "{lines:?}"
    );
    assert!(cli.list_ids().is_empty());
    // One that says nothing is no failure.
    let silent = cli.run(["mcp"]);
    assert_eq!((code(&silent), stdout(&silent).as_str()), (0, ""));
}

#[test]
fn a_signal_deletes_the_sandboxes() {
    let cli = Cli::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = cli.command(["mcp"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = server.stdin.take().unwrap();
        stdin.write_all(MESSAGES.as_bytes()).unwrap();
        let mut answers = BufReader::new(server.stdout.take().unwrap()).lines();
        answers.next().unwrap().unwrap();
        answers.next().unwrap().unwrap();
        assert_eq!(cli.list_ids().len(), 1);
        let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        assert_eq!(server.wait().unwrap().code(), Some(0), "{signal:?}");
        assert!(cli.list_ids().is_empty(), "{signal:?}");
    }
}

#[test]
fn over_http_there_is_no_server_without_a_token() {
    let cli = Cli::new();
    cli.write("weak", "secret\n");
    for (args, expected) in [
        (&["mcp", "--http", "127.0.0.1:0"][..], "there is no token"),
        (
            &["mcp", "--http", "127.0.0.1:0", "--token-file", "weak"],
            "the token is not valid",
        ),
        (
            &["mcp", "--http", "127.0.0.1:0", "--token-file", "missing"],
            "missing",
        ),
    ] {
        let output = cli.run(args);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!stderr(&output).contains("secret\n"));
    }
    let open = cli
        .command(["mcp", "--http", "0.0.0.0:0"])
        .env("SANDBOX_MCP_TOKEN", "0123456789abcdef")
        .output()
        .unwrap();
    assert!(
        stderr(&open).contains("other machines"),
        "{}",
        stderr(&open)
    );
}

#[test]
fn what_sandboxes_reach_is_said_once_and_without_the_secret() {
    let cli = Cli::new();
    let secret = cli.write("secret", "sk-live-0123\u{e4}\n");
    let in_file = format!("openai=file:{}", secret.display());
    let upstream = ["mcp", "--egress-upstream", "openai"];
    let certified = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let authority = cli.write("ca.pem", certified.cert.pem());
    let transform = format!("a.example,header=x-key,ca={}", authority.display());
    let run = |args: &[&str], isolation: &str, rules: Option<&str>| {
        let mut command = cli.command(args);
        command.env_remove("OPENAI_API_KEY");
        command.env("SANDBOX_LOCAL_ISOLATION", isolation);
        if let Some(rules) = rules {
            command.env("SANDBOX_EGRESS", rules);
        }
        command.stdin(Stdio::null()).output().unwrap()
    };
    for (args, isolation, expected) in [
        (&upstream[..], "auto", "is not in OPENAI_API_KEY"),
        (
            &[&upstream[..], &["--egress-secret", "openai=sk-live-0123"]].concat(),
            "auto",
            "write NAME=env:VARIABLE",
        ),
        (
            &[&upstream[..], &["--egress-secret", &in_file]].concat(),
            "auto",
            "visible ASCII",
        ),
        (
            &["mcp", "--egress-backend", "--egress", "packages"],
            "auto",
            "cannot be used with",
        ),
        (
            &["mcp", "--egress-backend", "--egress-upstream", "npm"],
            "auto",
            "cannot be used with",
        ),
        (
            &["mcp", "--egress-backend", "--egress-transform", "a.example"],
            "auto",
            "cannot be used with",
        ),
        (
            &["mcp", "--egress-transform", "a.example"],
            "auto",
            "has no secret",
        ),
        (
            &[
                "mcp",
                "--egress-transform",
                "a.example",
                "--egress-secret",
                "a.example=sk-live-0123",
            ],
            "auto",
            "write NAME=env:VARIABLE",
        ),
        (
            &[
                "mcp",
                "--egress-transform",
                &transform,
                "--egress-secret",
                "a.example=env:PATH",
                "--egress",
                "internet",
            ],
            "auto",
            "nearly every host",
        ),
        (
            &["mcp", "--egress-ask"],
            "auto",
            "--egress-ask cannot be used here",
        ),
        // It has this machine's network, and nothing keeps it from that.
        (&["mcp"], "none", "--egress-backend"),
    ] {
        let output = run(args, isolation, None);
        assert_eq!(code(&output), 125, "{args:?}");
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert!(!stderr(&output).contains("0123"), "{}", stderr(&output));
    }
    // The option is stronger than the variable.
    for (isolation, rules) in [("none", None), ("auto", None), ("none", Some("packages"))] {
        let output = run(&["mcp", "--egress-backend"], isolation, rules);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
    }
}

#[test]
fn an_installation_shows_what_it_changes_and_changes_nothing_else() {
    let cli = Cli::new();
    let before = "// mine\n{\n\t\"inputs\": [], // none\n\t\"servers\": {\n\t\t\"other\": { \"url\": \"https://x\" },\n\t},\n}\n";
    let file = cli.write(".vscode/mcp.json", before);
    let options = ["--", "--max-sandboxes", "2"];
    let install = |more: &[&str]| {
        let args = ["mcp", "install", "vscode"].iter().chain(more);
        cli.run(args.chain(&options))
    };
    let printed = install(&["--print"]);
    assert_eq!(code(&printed), 0, "{}", stderr(&printed));
    assert!(
        stdout(&printed).contains("\n+\t\t\"sandbox\": {\n"),
        "{}",
        stdout(&printed)
    );
    // There is no terminal to ask at.
    let unanswered = install(&[]);
    assert_eq!(code(&unanswered), 125);
    assert!(
        stderr(&unanswered).contains("--yes"),
        "{}",
        stderr(&unanswered)
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), before);
    let written = install(&["--yes"]);
    assert_eq!(code(&written), 0, "{}", stderr(&written));
    assert_eq!(stdout(&written), stdout(&printed));
    let after = std::fs::read_to_string(&file).unwrap();
    assert!(
        after.contains("[\"mcp\", \"--max-sandboxes\", \"2\"]"),
        "{after}"
    );
    let start = before.find("\n\t},\n").unwrap();
    assert!(after.starts_with(&before[..start]), "{after}");
    assert!(after.ends_with(&before[start..]), "{after}");
    let again = install(&["--yes"]);
    assert_eq!((code(&again), stdout(&again).as_str()), (0, ""));
    assert!(stderr(&again).contains("already"), "{}", stderr(&again));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
}

#[test]
fn each_client_has_its_file() {
    let cli = Cli::new();
    let home = cli.home();
    for (args, file) in [
        (
            &["claude"][..],
            home.join(".config/Claude/claude_desktop_config.json"),
        ),
        (&["claude-code"], cli.path(".mcp.json")),
        (&["claude-code", "--user"], home.join(".claude.json")),
        (&["cursor"], home.join(".cursor/mcp.json")),
        (&["cursor", "--project"], cli.path(".cursor/mcp.json")),
        (&["vscode"], cli.path(".vscode/mcp.json")),
        (
            &["vscode", "--user"],
            home.join(".config/Code/User/mcp.json"),
        ),
        (&["claude", "--file", "other.json"], cli.path("other.json")),
    ] {
        if cfg!(target_os = "macos") && file.starts_with(home.join(".config")) {
            continue;
        }
        let args = ["mcp", "install", "--yes"].iter().chain(args);
        let output = cli
            .command(args)
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = std::fs::read_to_string(&file).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let key = if file.ends_with("mcp.json") && text.contains("\"servers\"") {
            "servers"
        } else {
            "mcpServers"
        };
        let command = value[key]["sandbox"]["command"].as_str().unwrap();
        assert!(std::path::Path::new(command).is_absolute(), "{command}");
    }
}

#[test]
fn an_installation_that_would_not_work_is_refused() {
    let cli = Cli::new();
    cli.write("broken.json", "{\"mcpServers\": {");
    cli.write("array.json", "[]");
    for (args, expected) in [
        (&["claude", "--project"][..], "--file"),
        (&["claude", "--file", "broken.json", "--yes"], "line 1"),
        (
            &["claude", "--file", "array.json", "--yes"],
            "not a JSON object",
        ),
        (
            &["cursor", "--print", "--", "--no-such-option"],
            "--no-such-option",
        ),
        (
            &["cursor", "--print", "--", "--max-sandboxes", "0"],
            "1 to 10000",
        ),
        (
            &["cursor", "--print", "--", "--http", "127.0.0.1:1"],
            "--http",
        ),
        (
            &["cursor", "--print", "--", "--share", "src"],
            "absolute path",
        ),
        (
            &["cursor", "--print", "--", "--env-file", ".env"],
            "absolute path",
        ),
        (
            &[
                "cursor",
                "--print",
                "--",
                "--egress-upstream",
                "openai",
                "--egress-secret",
                "openai=file:key",
            ],
            "absolute path in place of key",
        ),
        (
            &[
                "cursor",
                "--print",
                "--",
                "--egress-upstream",
                "a,color=red",
            ],
            "no option \"color\"",
        ),
        (
            &[
                "cursor",
                "--print",
                "--",
                "--egress-transform",
                "a.example,ca=corp.pem",
            ],
            "absolute path in place of corp.pem",
        ),
        (
            &[
                "cursor",
                "--print",
                "--",
                "--egress-transform",
                "a.example,color=red",
            ],
            "no option \"color\"",
        ),
        (
            &["cursor", "--print", "--", "--egress-ask"],
            "--egress-ask cannot be used here",
        ),
    ] {
        let output = cli.run(["mcp", "install"].iter().chain(args));
        assert_eq!(code(&output), 125, "{args:?} {}", stdout(&output));
        assert!(
            stderr(&output).contains(expected),
            "{args:?} {}",
            stderr(&output)
        );
    }
    assert_eq!(
        std::fs::read_to_string(cli.path("array.json")).unwrap(),
        "[]"
    );
}
