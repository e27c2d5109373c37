//! `--egress` and `sandbox egress`. Nothing here needs a network: what is asked for is refused.

#![cfg(unix)]

use std::io::{BufRead, BufReader};

use crate::origin::Origin;
use crate::support::terminal::Terminal;
use crate::support::{Cli, code, stderr, stdout};

/// A line for the shell in a sandbox that sends a request to the proxy and prints the response. It needs no program
/// but Python, which ends by itself.
const ASK: &str = "python3 -c \"
import os, socket
port = int(os.environ['HTTP_PROXY'].rsplit(':', 1)[1])
try:
    s = socket.create_connection(('127.0.0.1', port), timeout=20)
    s.sendall(b'GET http://evil.example/ HTTP/1.1\\r\\nHost: evil.example\\r\\nConnection: close\\r\\n\\r\\n')
    text = b''
    while part := s.recv(4096):
        text += part
    print(text.decode())
except OSError as error:
    print('offline:', error)
\"";

#[test]
fn what_the_rules_do_not_allow_is_refused_with_what_would_allow_it() {
    let cli = Cli::new();
    let text = cli.expect_ok(["run", "-q", "--egress", "none", "--", "sh", "-c", ASK]);
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    assert!(text.contains("--egress-allow evil.example:80"), "{text}");
    let text = cli.expect_ok([
        "run",
        "-q",
        "--egress",
        "internet",
        "--egress-deny",
        "*.example",
        "--",
        "sh",
        "-c",
        ASK,
    ]);
    assert!(text.contains("(deny *.example)"), "{text}");
}

#[test]
fn mistakes_in_rules_are_reported_before_anything_is_created() {
    let cli = Cli::new();
    for (arguments, message) in [
        (
            ["--egress", "most"],
            "there are none, packages, internet, open",
        ),
        (["--egress-allow", "https://example.com"], "write HOST"),
        (["--egress-deny", "10.0.0.1/8"], "write 10.0.0.0/8"),
    ] {
        let output = cli.run(["run"].into_iter().chain(arguments).chain(["--", "true"]));
        assert_ne!(code(&output), 0);
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    let output = cli
        .command(["run", "--", "true"])
        .env("SANDBOX_EGRESS", "most")
        .output()
        .unwrap();
    assert!(
        stderr(&output).contains("SANDBOX_EGRESS: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_detached_sandbox_is_offline_unless_somebody_serves_it() {
    let cli = Cli::new();
    let created = cli.run(["create", "--egress", "none"]);
    assert_eq!(code(&created), 0, "{}", stderr(&created));
    let id = stdout(&created).trim_end().to_owned();
    let note = stderr(&created);
    assert!(
        note.contains(&format!("sandbox {id} is offline now")),
        "{note}"
    );
    let text = cli.expect_ok(["exec", &id, "--", "sh", "-c", ASK]);
    assert!(
        text.starts_with("offline: ") || text.trim().is_empty(),
        "{text}"
    );

    let mut serving = cli.spawn(["egress", "--egress", "none", "--json", &id]);
    let mut notes = BufReader::new(serving.stderr.take().unwrap()).lines();
    let note = notes.next().unwrap().unwrap();
    assert!(
        note.contains("it is offline once this command ends"),
        "{note}"
    );
    let text = cli.expect_ok(["exec", &id, "--", "sh", "-c", ASK]);
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    let mut decisions = BufReader::new(serving.stdout.take().unwrap()).lines();
    let decision = decisions.next().unwrap().unwrap();
    let decision: serde_json::Value = serde_json::from_str(&decision).unwrap();
    assert_eq!(decision["outcome"], "refused");
    assert_eq!(decision["host"], "evil.example");

    // One at a time.
    let second = cli.run(["egress", "--egress", "open", &id]);
    assert!(
        stderr(&second).contains("another client may do so already"),
        "{}",
        stderr(&second)
    );
    serving.kill().unwrap();
    serving.wait().unwrap();
    let text = cli.expect_ok(["exec", &id, "--", "sh", "-c", ASK]);
    assert!(
        text.starts_with("offline: ") || text.trim().is_empty(),
        "{text}"
    );
}

/// Asks an upstream, and prints the answer and all variables.
const ASK_UPSTREAM: &str = "python3 -c \"
import os, urllib.request
for name, value in os.environ.items():
    print(name, value)
print(urllib.request.urlopen(os.environ['MODELS_URL'] + '/models', timeout=20).read().decode())
\"";

#[test]
fn a_secret_stays_in_the_command() {
    let cli = Cli::new();
    let secret = "sk-live-0123456789";
    let sent = format!("x-key: {secret}\r\n");
    let origin = Origin::start(&cli, move |head| {
        head.starts_with("GET /v1/models ")
            && head.contains(&sent)
            && head.matches("x-key: ").count() == 1
    });
    let port = origin.port;
    // The server is on this machine, which a rule has to allow.
    let allow = format!("127.0.0.1:{port}");
    let upstream = format!(
        "models=https://localhost:{port}/v1,header=x-key,variable=MODELS_URL,key-variable=MODELS_KEY,ca=server.pem"
    );
    let output = cli
        .command([
            "run",
            "-q",
            "--egress-allow",
            &allow,
            "--egress-upstream",
            &upstream,
            "--egress-secret",
            "models=env:MODELS_SECRET",
            "--",
            "sh",
            "-c",
            ASK_UPSTREAM,
        ])
        .env("MODELS_SECRET", secret)
        .output();
    let output = output.unwrap();
    let text = stdout(&output) + &stderr(&output);
    assert!(text.ends_with("right\n"), "{text}");
    assert!(
        text.contains("MODELS_KEY held-by-the-client-of-the-sandbox"),
        "{text}"
    );
    assert!(!text.contains(secret), "{text}");
}

#[test]
fn mistakes_in_upstreams_are_reported_without_the_secret() {
    let cli = Cli::new();
    for (arguments, message) in [
        (
            &[
                "--egress-upstream",
                "git",
                "--egress-secret",
                "git=sk-live-0123",
            ][..],
            "write NAME=env:VARIABLE",
        ),
        (&["--egress-upstream", "openai"], "OPENAI_API_KEY"),
        (&["--egress-upstream", "models"], "needs an address"),
        (&["--egress-secret", "git=none"], "--egress-upstream"),
    ] {
        let output = cli
            .command(["run"].iter().chain(arguments).chain(&["--", "true"]))
            .env_remove("OPENAI_API_KEY")
            .output()
            .unwrap();
        let text = stdout(&output) + &stderr(&output);
        assert_ne!(code(&output), 0, "{text}");
        assert!(text.contains(message), "{text}");
        assert!(!text.contains("sk-live"), "{text}");
    }
}

#[test]
fn decisions_are_recorded_and_can_be_followed() {
    let cli = Cli::new();
    let created = cli.run(["create"]);
    let id = stdout(&created).trim_end().to_owned();
    let none = cli.run(["egress", "log", &id]);
    assert_ne!(code(&none), 0);
    assert!(
        stderr(&none).contains("nothing was decided"),
        "{}",
        stderr(&none)
    );

    let mut following = cli.spawn(["egress", "log", "-f", &id]);
    let mut serving = cli.spawn(["egress", "--egress", "none", &id]);
    let mut notes = BufReader::new(serving.stderr.take().unwrap()).lines();
    notes.next().unwrap().unwrap();
    cli.expect_ok(["exec", &id, "--", "sh", "-c", ASK]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let decision: serde_json::Value =
        serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(
        (&decision["outcome"], &decision["host"]),
        (&"refused".into(), &"evil.example".into())
    );
    serving.kill().unwrap();
    serving.wait().unwrap();
    // It ends with the sandbox, and can be read afterwards.
    cli.expect_ok(["rm", &id]);
    assert!(lines.next().is_none());
    assert!(following.wait().unwrap().success());
    let text = cli.expect_ok(["egress", "log", "-n", "1", &id]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        decision
    );

    let text = cli.expect_ok(["run", "-q", "--egress", "none", "--", "sh", "-c", ASK]);
    assert!(text.starts_with("HTTP/1.1 403"), "{text}");
    let logs = cli.home().join(".local/state/sandbox-egress");
    assert_eq!(std::fs::read_dir(logs).unwrap().count(), 2);
}

/// Two requests for a name that every machine knows, and whose address needs another rule: nothing is ever reached.
fn ask_twice() -> String {
    let ask = ASK.replace("evil.example", "localhost");
    format!("{ask}; echo; {ask}; echo done")
}

#[test]
fn the_user_is_asked_at_the_terminal_and_answers_are_remembered() {
    let cli = Cli::new();
    let refused = "no rule allows it, and neither did who was asked";
    let allowed = "it has no address that is allowed";
    for (answer, asked, reply) in [
        ("n\r", 1, refused),
        ("x\ra\r", 1, allowed),
        ("y\r", 2, allowed),
    ] {
        let mut terminal = Terminal::open(120, 24);
        let script = ask_twice();
        let arguments = ["run", "-q", "--egress-ask", "--", "sh", "-c", &script];
        let mut child = terminal.start(&cli, &arguments);
        for number in 1..=asked {
            let question =
                "wants to reach localhost:80\r\nAllow it? [y] this time, [a] always, [n] never: ";
            while terminal.screen.matches(question).count() < number {
                terminal.wait_for_more();
            }
            terminal.type_keys(answer);
        }
        terminal.wait_for("done\r\n");
        assert!(child.wait().unwrap().success());
        let screen = &terminal.screen;
        assert_eq!(screen.matches("wants to reach").count(), asked, "{screen}");
        assert_eq!(screen.matches(reply).count(), 2, "{screen}");
    }
}

#[test]
fn what_a_sandbox_writes_waits_while_a_question_is_open() {
    let cli = Cli::new();
    let mut terminal = Terminal::open(120, 24);
    let ask = ASK.replace("evil.example", "localhost");
    let script = format!(
        "({ask}) & asking=$!; while kill -0 $asking 2>/dev/null; do printf 'x'; sleep 0.05; done; wait; echo done"
    );
    let arguments = ["run", "-q", "--egress-ask", "--", "sh", "-c", &script];
    let mut child = terminal.start(&cli, &arguments);
    terminal.wait_for("[n] never: ");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.type_keys("what?\r");
    terminal.wait_for("Answer y, a or n: ");
    assert!(
        terminal
            .screen
            .contains("[n] never: what?\r\nAnswer y, a or n: "),
        "{}",
        terminal.screen
    );
    terminal.type_keys("n\r");
    terminal.wait_for("done\r\n");
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_a_terminal_of_its_own_nothing_can_be_asked() {
    let cli = Cli::new();
    for (arguments, message) in [
        (
            &["run", "--egress-ask", "--", "true"][..],
            "needs a terminal",
        ),
        (
            &["run", "-t", "--egress-ask", "--", "true"],
            "cannot be combined with -i or -t",
        ),
        (
            &["run", "-i", "--egress-ask", "--", "true"],
            "cannot be combined with -i or -t",
        ),
        (
            &["create", "--egress-ask"],
            "sandbox egress --egress-ask ID",
        ),
        (&["egress", "--egress-ask", "none-such"], "needs a terminal"),
    ] {
        let output = cli.run(arguments.iter().copied());
        assert_eq!(code(&output), 125, "{arguments:?}");
        assert!(stderr(&output).contains(message), "{}", stderr(&output));
    }
    assert!(cli.list_ids().is_empty());
}
