//! Who may run code, which requests are refused, and what an interpreter that was replaced can do.

use std::sync::Arc;

use serde_json::json;

use crate::Outcome;
use crate::fixture::{Fixture, token};

pub(crate) async fn only_the_owner_runs_code(fixture: Arc<Fixture>) -> Outcome {
    let (sandbox, other) = (fixture.create().await?, fixture.create().await?);
    let body = json!({ "code": "1" }).to_string();
    for headers in [
        String::new(),
        "X-Access-Token: x\r\n".to_owned(),
        format!("X-Access-Token: {}\r\n", token(&other)),
    ] {
        let (status, text) = fixture
            .send(0, &sandbox, "POST /execute", &headers, &body)
            .await?;
        assert_eq!(status, 401, "{text}");
    }
    // A sandbox that the API has not created has no token that anyone could know.
    let foreign = fixture.client.sandbox().create().await?;
    let (status, text) = fixture
        .request(0, &foreign, "POST /execute", &json!({ "code": "1" }))
        .await?;
    assert_eq!(status, 502);
    assert!(text.contains("was not found"), "{text}");
    for sandbox in [sandbox, other, foreign] {
        sandbox.delete().await?;
    }
    Ok(())
}

pub(crate) async fn requests_that_are_wrong_are_refused_in_words(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    for (line, body, status, words) in [
        (
            "POST /execute",
            json!({ "code": "1", "language": "cobol" }),
            501,
            "no kernel for cobol",
        ),
        (
            "POST /execute",
            json!({ "code": "1", "context_id": "none" }),
            404,
            "context none not found",
        ),
        (
            "POST /execute",
            json!({ "code": "1", "context_id": "a", "language": "python" }),
            400,
            "Only one of",
        ),
        ("POST /execute", json!({ "code": 1 }), 400, "invalid"),
        (
            "POST /execute",
            json!({ "code": "1", "env_vars": { "A=B": "c" } }),
            400,
            "no valid value for 'A=B'",
        ),
        (
            "POST /execute",
            json!({ "code": "1", "env_vars": { "A": 1 } }),
            400,
            "no valid value for 'A'",
        ),
        (
            "POST /contexts",
            json!({ "cwd": "/proc/no" }),
            400,
            "cannot be used",
        ),
        ("PUT /execute", json!({}), 404, "nothing under this method"),
    ] {
        let (found, text) = fixture.request(0, &sandbox, line, &body).await?;
        assert_eq!(found, status, "{line} {body}: {text}");
        assert!(text.contains(words), "{line} {body}: {text}");
    }
    sandbox.delete().await?;
    Ok(())
}

/// A program in the sandbox that listens where the interpreter would, and sends what its argument says.
const HOSTILE: &str = r#"
import os, socket, sys, time
path = os.path.expanduser("~/.sandbox/interpreter"); os.makedirs(path, exist_ok=True); os.chdir(path)
if os.path.lexists("1.sock"): os.unlink("1.sock")
s = socket.socket(socket.AF_UNIX); s.bind("1.sock"); s.listen()
print("listening", flush=True)
while True:
    c, _ = s.accept()
    try:
        c.recv(1 << 20)
        exec(sys.argv[1])
    except OSError: pass
    c.close()
"#;

pub(crate) async fn a_hostile_interpreter_cannot_break_the_client(
    fixture: Arc<Fixture>,
) -> Outcome {
    let accepted = "c.sendall(b'{\"type\":\"accepted\"}\\n'); ";
    for (what, then) in [
        ("garbage", "c.sendall(b'garbage\\n')"),
        ("nothing", "pass"),
        ("half a line", "c.sendall(b'{\"type\":')"),
        ("another protocol", "c.sendall(b'{\"type\":\"reset\"}\\n')"),
        (
            "deep nesting",
            "c.sendall(b'{\"type\":\"result\",\"json\":' + b'[' * 10**6 + b']' * 10**6 + b'}\\n')",
        ),
        (
            "an endless line",
            "[c.sendall(b'x' * 65536) for _ in range(10**6)]",
        ),
    ] {
        let sandbox = fixture.create().await?;
        let code = format!("{accepted}{then}");
        let mut server = sandbox
            .command("python3")
            .args(["-c", HOSTILE, &code])
            .spawn()
            .await?;
        server.next().await.ok_or("the server does not start")??;
        let lines = fixture.run(0, &sandbox, json!({ "code": "1" })).await?;
        let kinds: Vec<_> = lines
            .iter()
            .map(|line| line["type"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["error", "end_of_execution"], "{what}");
        assert_eq!(lines[0]["name"], "InterpreterError", "{what}");
        sandbox.delete().await?;
    }
    let sandbox = fixture.create().await?;
    let code = "c.sendall(b'x' * 1000 + b'\\n')";
    let mut server = sandbox
        .command("python3")
        .args(["-c", HOSTILE, code])
        .spawn()
        .await?;
    server.next().await.ok_or("the server does not start")??;
    let (status, _) = fixture
        .request(0, &sandbox, "POST /execute", &json!({ "code": "1" }))
        .await?;
    assert_eq!(status, 500);
    sandbox.delete().await?;
    Ok(())
}
