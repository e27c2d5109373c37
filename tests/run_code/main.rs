//! Code that is run in a local sandbox through a gateway: who may, what the client gets, and what an interpreter that was
//! replaced by something hostile can do. What the SDKs make of it is tested with them, in `tests/e2b`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod fixture;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support.rs"]
mod support;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fixture::{Fixture, parse, token};
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A test by name.
type Case = (&'static str, fn(Arc<Fixture>) -> Running);

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = Arc::new(
        runtime
            .block_on(Fixture::start(dir.path()))
            .expect("two gateways"),
    );
    let cases: &[Case] = &[
        ("output_and_results_come_in_order", |f| {
            Box::pin(output_and_results_come_in_order(f))
        }),
        ("replicas_share_contexts", |f| {
            Box::pin(replicas_share_contexts(f))
        }),
        ("first_executions_at_once_share_one_server", |f| {
            Box::pin(first_executions_at_once_share_one_server(f))
        }),
        ("a_client_that_leaves_interrupts_its_code", |f| {
            Box::pin(a_client_that_leaves_interrupts_its_code(f))
        }),
        ("only_the_owner_runs_code", |f| {
            Box::pin(only_the_owner_runs_code(f))
        }),
        ("requests_that_are_wrong_are_refused_in_words", |f| {
            Box::pin(requests_that_are_wrong_are_refused_in_words(f))
        }),
        ("code_resumes_a_paused_sandbox_that_allows_it", |f| {
            Box::pin(code_resumes_a_paused_sandbox_that_allows_it(f))
        }),
        ("a_sandbox_that_is_killed_cuts_the_client_off", |f| {
            Box::pin(a_sandbox_that_is_killed_cuts_the_client_off(f))
        }),
        ("a_hostile_interpreter_cannot_break_the_client", |f| {
            Box::pin(a_hostile_interpreter_cannot_break_the_client(f))
        }),
    ];
    let trials = cases
        .iter()
        .map(|(name, run)| {
            let (fixture, handle, run) = (Arc::clone(&fixture), runtime.handle().clone(), *run);
            Trial::test(*name, move || {
                let outcome = handle.block_on(run(fixture));
                outcome.map_err(|error| Failed::from(error.to_string()))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

async fn output_and_results_come_in_order(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    let code = "import os, sys\nprint('one')\nprint('two', file=sys.stderr)\nos.system('echo three')\ndisplay(4)\nprint('five')\n'six'";
    let lines = fixture.run(0, &sandbox, json!({ "code": code })).await?;
    let expected = [
        json!({ "type": "number_of_executions", "execution_count": 1 }),
        json!({ "type": "stdout", "text": "one\n" }),
        json!({ "type": "stderr", "text": "two\n" }),
        json!({ "type": "stdout", "text": "three\n" }),
        json!({ "type": "result", "text": "4", "is_main_result": false }),
        json!({ "type": "stdout", "text": "five\n" }),
        json!({ "type": "result", "text": "six", "is_main_result": true }),
        json!({ "type": "end_of_execution" }),
    ];
    assert_eq!(lines, expected);
    // What looks like a message is output like any other.
    let forged = "print('{\"type\":\"end_of_execution\"}'); import os; os.write(1, b'{\"event\":\"done\"}\\n')";
    let lines = fixture.run(0, &sandbox, json!({ "code": forged })).await?;
    let text: String = lines
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert_eq!(
        text,
        "{\"type\":\"end_of_execution\"}\n{\"event\":\"done\"}\n17"
    );
    sandbox.delete().await?;
    Ok(())
}

async fn replicas_share_contexts(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    let (status, context) = fixture
        .request(0, &sandbox, "POST /contexts", &json!({ "cwd": "made" }))
        .await?;
    assert_eq!(status, 200, "{context}");
    let context: Value = serde_json::from_str(&context)?;
    let id = &context["id"];
    fixture
        .run(0, &sandbox, json!({ "code": "x = 5", "context_id": id }))
        .await?;
    let lines = fixture.run(1, &sandbox, json!({ "code": "x, __import__('os').path.basename(__import__('os').getcwd())", "context_id": id })).await?;
    assert_eq!(lines[1]["text"], "(5, 'made')");
    let (_, listed) = fixture
        .request(1, &sandbox, "GET /contexts", &Value::Null)
        .await?;
    let listed: Vec<Value> = serde_json::from_str(&listed)?;
    assert!(
        listed.contains(&context) && listed.iter().all(|context| context["language"] == "python")
    );
    let path = id.as_str().unwrap();
    assert_eq!(
        fixture
            .request(
                1,
                &sandbox,
                &format!("POST /contexts/{path}/restart"),
                &Value::Null
            )
            .await?
            .0,
        200
    );
    let lines = fixture
        .run(0, &sandbox, json!({ "code": "x", "context_id": id }))
        .await?;
    assert_eq!(lines[1]["name"], "NameError");
    assert_eq!(
        fixture
            .request(
                0,
                &sandbox,
                &format!("DELETE /contexts/{path}"),
                &Value::Null
            )
            .await?
            .0,
        200
    );
    for line in ["DELETE /contexts/", "POST /contexts/"] {
        let end = if line.starts_with("POST") {
            "/restart"
        } else {
            ""
        };
        let (status, text) = fixture
            .request(1, &sandbox, &format!("{line}{path}{end}"), &Value::Null)
            .await?;
        assert_eq!((status, text), (404, format!("context {path} not found")));
    }
    sandbox.delete().await?;
    Ok(())
}

async fn first_executions_at_once_share_one_server(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    let runs = (0..8).map(|number| {
        let (fixture, sandbox) = (Arc::clone(&fixture), sandbox.clone());
        async move {
            let code = "counted = globals().get('counted', 0) + 1; counted";
            fixture
                .run(number % 2, &sandbox, json!({ "code": code }))
                .await
        }
    });
    let mut counts = Vec::new();
    for lines in futures_util::future::join_all(runs).await {
        counts.push(lines?[1]["text"].as_str().unwrap().parse::<u32>()?);
    }
    counts.sort_unstable();
    assert_eq!(counts, (1..=8).collect::<Vec<_>>());
    sandbox.delete().await?;
    Ok(())
}

async fn a_client_that_leaves_interrupts_its_code(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    // A client can leave before its code has begun. None of it may run later.
    for (language, code, next, times) in [
        ("python", "while True: pass", "print('free')", 3),
        (
            "python",
            "while True: print('x' * 1000)",
            "print('free')",
            3,
        ),
        ("bash", "sleep 100", "echo free", 12),
        (
            "bash",
            &format!("sleep 100 # {}", "x".repeat(300_000)),
            "echo free",
            3,
        ),
    ] {
        fixture
            .run(0, &sandbox, json!({ "code": "1", "language": language }))
            .await
            .ok();
        let token = format!("X-Access-Token: {}\r\n", token(&sandbox));
        let body = json!({ "code": code, "language": language }).to_string();
        for _ in 0..times {
            let mut stream = fixture
                .open(0, &sandbox, "POST /execute", &token, &body)
                .await?;
            stream.read_exact(&mut [0; 20]).await?;
            drop(stream);
            let begun = Instant::now();
            let lines = fixture
                .run(1, &sandbox, json!({ "code": next, "language": language }))
                .await?;
            assert_eq!(lines[1]["text"], "free\n", "{lines:?}");
            assert!(begun.elapsed() < Duration::from_secs(10));
        }
    }
    sandbox.delete().await?;
    Ok(())
}

async fn only_the_owner_runs_code(fixture: Arc<Fixture>) -> Outcome {
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

async fn requests_that_are_wrong_are_refused_in_words(fixture: Arc<Fixture>) -> Outcome {
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

async fn code_resumes_a_paused_sandbox_that_allows_it(fixture: Arc<Fixture>) -> Outcome {
    for allows in [false, true] {
        let lifecycle = json!({ "onTimeout": "kill", "autoResume": allows }).to_string();
        let builder = fixture.builder().annotation("gateway/lifecycle", lifecycle);
        let sandbox = builder.create().await?;
        fixture.run(0, &sandbox, json!({ "code": "x = 1" })).await?;
        sandbox.pause().await?;
        let (status, text) = fixture
            .request(1, &sandbox, "POST /execute", &json!({ "code": "x" }))
            .await?;
        if allows {
            assert_eq!(status, 200, "{text}");
            assert!(text.contains("\"text\":\"1\""), "{text}");
        } else {
            assert_eq!(status, 502, "{text}");
            assert!(text.contains("was not found"), "{text}");
        }
        sandbox.delete().await?;
    }
    Ok(())
}

async fn a_sandbox_that_is_killed_cuts_the_client_off(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    let token = format!("X-Access-Token: {}\r\n", token(&sandbox));
    let body =
        json!({ "code": "import time; print('on', flush=True); time.sleep(100)" }).to_string();
    let mut stream = fixture
        .open(0, &sandbox, "POST /execute", &token, &body)
        .await?;
    let mut received = Vec::new();
    while !String::from_utf8_lossy(&received).contains("on\\n") {
        assert_ne!(stream.read_buf(&mut received).await?, 0);
    }
    sandbox.delete().await?;
    let reading = stream.read_to_end(&mut received);
    let ended = tokio::time::timeout(Duration::from_secs(30), reading).await?;
    // A reset, or at least no end that looks like one of the execution.
    assert!(
        ended.is_err() || parse(&received).is_err(),
        "{}",
        String::from_utf8_lossy(&received)
    );
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

async fn a_hostile_interpreter_cannot_break_the_client(fixture: Arc<Fixture>) -> Outcome {
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
