//! `command_run`, `job_wait`, `job_signal`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::World;

crate::cases![
    an_exit_code_is_data,
    a_long_command_becomes_a_job,
    a_job_that_never_ends_is_signalled,
    of_a_huge_output_both_ends_are_returned,
    output_that_is_not_text_is_flagged,
    a_cancelled_command_is_killed,
    a_cancelled_wait_leaves_the_job_alone,
    directory_and_variables_are_set,
    what_is_no_job_is_refused,
];

async fn an_exit_code_is_data() {
    let mut world = World::start().await;
    let answer = world
        .call(
            "command_run",
            json!({"command": "echo out; echo err >&2; exit 3"}),
        )
        .await;
    assert!(!answer.is_error, "{answer:?}");
    assert_eq!(answer.data["exit_code"], 3);
    assert_eq!(answer.data["still_running"], false);
    assert_eq!(answer.data["output"], "out\nerr\n");
    assert_eq!(answer.data["next_offset"], 8);
    assert_eq!(answer.text, "exit code 3\nout\nerr\n");
    let killed = world
        .use_tool("command_run", json!({"command": "kill -9 $$"}))
        .await;
    assert_eq!(
        (&killed["exit_code"], &killed["signal"]),
        (&Value::Null, &json!("KILL"))
    );
    let missing = world
        .use_tool("command_run", json!({"command": "no-such-program"}))
        .await;
    assert_eq!(missing["exit_code"], 127);
    world.finish().await;
}

async fn a_long_command_becomes_a_job() {
    let mut world = World::start().await;
    let command = "echo one; until [ -e go ]; do sleep 0.05; done; echo two";
    let started = world
        .use_tool(
            "command_run",
            json!({"command": command, "wait_seconds": 1}),
        )
        .await;
    assert_eq!(started["still_running"], true);
    assert_eq!(started["output"], "one\n");
    let job = &started["job_id"];
    let snapshot = world
        .use_tool("job_wait", json!({"job_id": job, "wait_seconds": 0}))
        .await;
    assert_eq!(
        (&snapshot["still_running"], &snapshot["output"]),
        (&json!(true), &json!("one\n"))
    );
    world.run("touch go").await;
    let rest = json!({"job_id": job, "offset": started["next_offset"]});
    let ended = world.use_tool("job_wait", rest.clone()).await;
    assert_eq!(
        (&ended["exit_code"], &ended["output"]),
        (&json!(0), &json!("two\n"))
    );
    // It can be asked again.
    let again = world.use_tool("job_wait", rest).await;
    assert_eq!(again, ended);
    let snapshot = world
        .use_tool("job_wait", json!({"job_id": job, "wait_seconds": 0}))
        .await;
    assert_eq!(
        (&snapshot["exit_code"], &snapshot["output"]),
        (&json!(0), &json!("one\ntwo\n"))
    );
    world.finish().await;
}

async fn a_job_that_never_ends_is_signalled() {
    let mut world = World::start().await;
    let started = world
        .use_tool(
            "command_run",
            // It writes without end, too.
            json!({"command": "trap '' TERM; while :; do echo y; sleep 0.01; done", "wait_seconds": 1}),
        )
        .await;
    assert_eq!(started["still_running"], true);
    let job = &started["job_id"];
    let begun = Instant::now();
    let waited = world
        .use_tool("job_wait", json!({"job_id": job, "wait_seconds": 1}))
        .await;
    assert_eq!(waited["still_running"], true);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let sent = world
        .use_tool("job_signal", json!({"job_id": job, "signal": "SIGKILL"}))
        .await;
    assert_eq!(sent["signal"], "KILL");
    let ended = world.use_tool("job_wait", json!({"job_id": job})).await;
    assert_eq!(
        (&ended["still_running"], &ended["signal"]),
        (&json!(false), &json!("KILL"))
    );
    let late = world
        .fail("job_signal", json!({"job_id": job, "signal": "TERM"}))
        .await;
    assert!(!late.is_empty());
    world.finish().await;
}

async fn of_a_huge_output_both_ends_are_returned() {
    let mut world = World::start().await;
    let answer = world
        .call(
            "command_run",
            json!({"command": "echo begin; head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end"}),
        )
        .await;
    let data = &answer.data;
    assert_eq!(data["exit_code"], 0, "{answer:?}");
    let output = data["output"].as_str().unwrap();
    assert!(output.starts_with("begin\nxxx") && output.ends_with("xxx\nend\n"));
    assert!(output.len() < 25_000 && answer.text.len() < 25_000);
    assert_eq!(data["truncated"], true);
    assert_eq!(data["next_offset"], 100_000_011_u64);
    let omitted = data["omitted_bytes"].as_u64().unwrap();
    assert!(omitted > 99_900_000, "{omitted}");
    // The log of the sandbox keeps both ends, too. What it lacks depends on how fast it was read.
    let lost = data["lost_bytes"].as_u64().unwrap();
    assert!(lost < omitted, "{lost}");
    let next = world
        .use_tool(
            "job_wait",
            json!({"job_id": data["job_id"], "offset": 100_000_007_u64}),
        )
        .await;
    assert_eq!(
        (&next["output"], &next["truncated"]),
        (&json!("end\n"), &json!(false))
    );
    world.finish().await;
}

async fn output_that_is_not_text_is_flagged() {
    let mut world = World::start().await;
    let data = world
        .use_tool(
            "command_run",
            json!({"command": "printf 'caf\\351 \\303\\251 \\033[0m'"}),
        )
        .await;
    assert_eq!(data["output"], "caf\\xe9 é \u{1b}[0m");
    assert_eq!(data["invalid_utf8"], true);
    world.finish().await;
}

async fn a_cancelled_command_is_killed() {
    let mut world = World::start_with(|config, dir| config.audit = Some(dir.join("audit"))).await;
    world.run("true").await;
    let id = world
        .begin_call(
            "command_run",
            json!({"command": "echo $$ > pid; exec sleep 1000"}),
        )
        .await;
    world.run("until [ -s pid ]; do sleep 0.02; done").await;
    world
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}))
        .await;
    world
        .run("while kill -0 $(cat pid) 2>/dev/null; do sleep 0.02; done")
        .await;
    let lines = world.audit_lines();
    let cancelled = lines.iter().find(|line| line["outcome"] == "cancelled");
    assert!(
        cancelled.is_some_and(|line| line["tool"] == "command_run"),
        "{lines:?}"
    );
    world.finish().await;
}

async fn a_cancelled_wait_leaves_the_job_alone() {
    let mut world = World::start().await;
    let job = world
        .use_tool(
            "command_run",
            json!({"command": "until [ -e go ]; do sleep 0.05; done", "wait_seconds": 0}),
        )
        .await;
    let id = world
        .begin_call("job_wait", json!({"job_id": job["job_id"]}))
        .await;
    world
        .send(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}))
        .await;
    world.run("touch go").await;
    let ended = world
        .use_tool("job_wait", json!({"job_id": job["job_id"]}))
        .await;
    assert_eq!(ended["exit_code"], 0);
    world.finish().await;
}

async fn directory_and_variables_are_set() {
    let mut world = World::start().await;
    world.run("mkdir -p 'a b'").await;
    let data = world
        .use_tool(
            "command_run",
            json!({"command": "basename \"$PWD\"; echo \"$GREETING\"", "cwd": "a b", "env": {"GREETING": "hello $USER"}}),
        )
        .await;
    assert_eq!(data["output"], "a b\nhello $USER\n");
    let nulls =
        json!({"command": "true", "cwd": null, "env": null, "sandbox": null, "wait_seconds": null});
    assert_eq!(world.use_tool("command_run", nulls).await["exit_code"], 0);
    let bad = json!({"command": "true", "env": {"A=B": "c"}});
    assert!(world.fail("command_run", bad).await.contains("A=B"));
    world.finish().await;
}

async fn what_is_no_job_is_refused() {
    let mut world = World::start().await;
    for (tool, arguments) in [
        ("job_wait", json!({"job_id": "job-000000"})),
        ("job_wait", json!({"job_id": "../etc/passwd"})),
        ("job_wait", json!({"job_id": ""})),
        ("job_wait", json!({"job_id": 7})),
        ("job_wait", json!({})),
        ("job_wait", json!({"job_id": "job-000000", "offset": -1})),
        (
            "job_signal",
            json!({"job_id": "job-000000", "signal": "TERM"}),
        ),
        (
            "job_signal",
            json!({"job_id": "job-000000", "signal": "rm -rf"}),
        ),
        ("command_run", json!({"command": ""})),
        (
            "command_run",
            json!({"command": "true", "wait_seconds": 46}),
        ),
        (
            "command_run",
            json!({"command": "true", "wait_seconds": -1}),
        ),
        ("command_run", json!({"command": ["true"]})),
        ("command_run", json!({"command": "true", "image": "alpine"})),
        ("command_run", json!({"command": "echo \u{0}"})),
        (
            "command_run",
            json!({"command": "true", "sandbox": "sbx-0000000000"}),
        ),
    ] {
        let message = world.fail(tool, arguments.clone()).await;
        assert!(!message.is_empty(), "{arguments}");
    }
    world.finish().await;
}
