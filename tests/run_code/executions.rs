//! What a client gets for its code, and what becomes of the code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::Outcome;
use crate::fixture::{Fixture, parse, token};

pub(crate) async fn output_and_results_come_in_order(fixture: Arc<Fixture>) -> Outcome {
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

pub(crate) async fn replicas_share_contexts(fixture: Arc<Fixture>) -> Outcome {
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

pub(crate) async fn first_executions_at_once_share_one_server(fixture: Arc<Fixture>) -> Outcome {
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

pub(crate) async fn a_client_that_leaves_interrupts_its_code(fixture: Arc<Fixture>) -> Outcome {
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

/// Another user than that of the server needs one that is root, which no local sandbox has.
pub(crate) async fn code_runs_as_the_user_of_the_template(fixture: Arc<Fixture>) -> Outcome {
    let sandbox = fixture.create().await?;
    let code = "import os; home = os.path.expanduser('~'); os.getuid()";
    let lines = fixture.run(0, &sandbox, json!({ "code": code })).await?;
    let own = lines[1]["text"].as_str().unwrap();
    let replica = fixture.start_for_user(own).await?;
    // It is the same interpreter.
    let code = "os.getuid(), home == os.path.expanduser('~')";
    let lines = replica.run(0, &sandbox, json!({ "code": code })).await?;
    assert_eq!(lines[1]["text"], format!("({own}, True)"), "{lines:?}");
    let replica = fixture.start_for_user("no-such-user").await?;
    for line in ["POST /execute", "POST /contexts", "GET /contexts"] {
        let (status, text) = replica
            .request(0, &sandbox, line, &json!({ "code": "1" }))
            .await?;
        assert_eq!(status, 401, "{line}: {text}");
        assert!(text.contains("no-such-user"), "{line}: {text}");
    }
    sandbox.delete().await?;
    Ok(())
}

pub(crate) async fn code_resumes_a_paused_sandbox_that_allows_it(fixture: Arc<Fixture>) -> Outcome {
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

pub(crate) async fn a_sandbox_that_is_killed_cuts_the_client_off(fixture: Arc<Fixture>) -> Outcome {
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
