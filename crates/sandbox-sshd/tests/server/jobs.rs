//! Jobs and lifetimes, by the protocol in `sandbox_core::protocol`.

use std::time::Duration;

use russh::{ChannelMsg, Sig};
use sandbox_core::Notice;
use sandbox_core::protocol::{
    EXTEND_SECONDS, JOB, JOB_FOLLOW, JOB_OFFSET, JOB_SUBSYSTEM, JOBS_SUBSYSTEM, JobRecord,
    LIFETIME_SUBSYSTEM,
};

use crate::support::client::{
    Client, LONG, TestSandbox, collect, exec, exec_with, open, subsystem,
};
use crate::support::processes_with;

const PIPE: usize = 64 << 10;

async fn jobs(client: &Client) -> Vec<JobRecord> {
    let ended = subsystem(client, &[], JOBS_SUBSYSTEM).await;
    assert_eq!(ended.code, Some(0));
    let lines = String::from_utf8(ended.stdout).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_job_outlives_its_client_and_the_next_client_reads_it() {
    let sandbox = TestSandbox::new(|config| config.with_shell("/bin/sh"));
    let client = sandbox.connect(PIPE).await;
    let command =
        "echo first; echo second >&2; while [ ! -e go ]; do sleep 0.02; done; echo third; exit 5";
    let started = exec_with(&client, &[(JOB, "build-1")], command).await;
    assert_eq!(
        (started.code, started.stdout.len()),
        (Some(0), 0),
        "{started:?}"
    );
    drop(client);

    let client = sandbox.connect(PIPE).await;
    let reading = async {
        loop {
            let now = subsystem(&client, &[(JOB, "build-1")], JOB_SUBSYSTEM).await;
            assert_eq!(now.code, None, "the job runs");
            if now.stdout == b"first\nsecond\n" {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("the log is missing");
    let record = jobs(&client).await.remove(0);
    assert_eq!(
        (record.id.as_str(), record.program.to_str().unwrap()),
        ("build-1", "/bin/sh")
    );
    assert_eq!(
        (record.log_bytes, record.dropped_bytes, record.exit_code),
        (13, 0, None)
    );

    let follow = subsystem(
        &client,
        &[(JOB, "build-1"), (JOB_OFFSET, "6"), (JOB_FOLLOW, "1")],
        JOB_SUBSYSTEM,
    );
    let go = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    };
    let (followed, ()) = tokio::join!(follow, go);
    assert_eq!(
        (&*followed.stdout, followed.code),
        (&b"second\nthird\n"[..], Some(5))
    );
    assert_eq!(jobs(&client).await[0].exit_code, Some(5));
    let beyond = subsystem(
        &client,
        &[(JOB, "build-1"), (JOB_OFFSET, "9999")],
        JOB_SUBSYSTEM,
    )
    .await;
    assert_eq!((beyond.stdout.len(), beyond.code), (0, Some(5)));
}

#[tokio::test]
async fn an_attached_client_signals_a_job() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    exec_with(&client, &[(JOB, "s")], "echo up; sleep 1234901; :").await;
    let mut channel = open(&client, &[(JOB, "s"), (JOB_FOLLOW, "1")]).await;
    channel
        .request_subsystem(true, JOB_SUBSYSTEM)
        .await
        .unwrap();
    while !matches!(channel.wait().await, Some(ChannelMsg::Data { .. })) {}
    channel.signal(Sig::TERM).await.unwrap();
    assert_eq!(collect(channel).await.signal.as_deref(), Some("TERM"));
    assert_eq!(jobs(&client).await[0].exit_signal.as_deref(), Some("TERM"));
    assert!(processes_with("sleep 1234901").is_empty());
}

#[tokio::test]
async fn invalid_jobs_are_refused() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    for (id, command, code, message) in [
        ("../up", "exec 'true'", 125, "a job's id"),
        ("", "exec 'true'", 125, "a job's id"),
        ("j", "exec 'no-such'", 127, "command not found"),
        ("j", "exec '/etc/passwd'", 126, "Permission denied"),
    ] {
        let ended = exec_with(&client, &[(JOB, id)], command).await;
        assert_eq!(ended.code, Some(code), "{id:?} {ended:?}");
        assert!(ended.stderr.contains(message), "{id:?} {ended:?}");
    }
    assert_eq!(
        exec_with(&client, &[(JOB, "j")], "exec 'true'").await.code,
        Some(0)
    );
    let second = exec_with(&client, &[(JOB, "j")], "exec 'true'").await;
    assert_eq!(second.code, Some(125));
    assert!(
        second.stderr.contains("there is a job j already"),
        "{second:?}"
    );
    assert!(
        subsystem(&client, &[(JOB, "none")], JOB_SUBSYSTEM)
            .await
            .refused
    );
    assert!(subsystem(&client, &[], JOB_SUBSYSTEM).await.refused);
    assert!(
        subsystem(&client, &[(JOB, "j"), (JOB_OFFSET, "x")], JOB_SUBSYSTEM)
            .await
            .refused
    );
    assert!(subsystem(&client, &[], "no-such-subsystem").await.refused);
}

#[tokio::test]
async fn a_log_is_limited_and_the_job_continues() {
    let sandbox = TestSandbox::new(|config| config.with_job_log_limit(1000));
    let client = sandbox.connect(PIPE).await;
    exec_with(&client, &[(JOB, "loud")], "seq 100000; touch done").await;
    let env = [
        (JOB, "loud"),
        (JOB_FOLLOW, "1"),
        (JOB_OFFSET, &u64::MAX.to_string()),
    ];
    assert_eq!(subsystem(&client, &env, JOB_SUBSYSTEM).await.code, Some(0));
    let log = subsystem(&client, &[(JOB, "loud")], JOB_SUBSYSTEM).await;
    assert_eq!((log.stdout.len(), log.code), (1000, Some(0)));
    assert!(log.stdout.starts_with(b"1\n2\n3\n"));
    assert!(log.stdout.ends_with(b"\n99999\n100000\n"));
    assert!(log.stderr.contains("587895 bytes"), "{log:?}");
    // The SDK's client gets a notice, also from an offset in the gap.
    let sdk = sandbox.connect_as_sdk().await;
    for (offset, bytes, omitted) in [
        ("0", 1000, 587_895),
        ("1500", 500, 586_895),
        ("588000", 500, 395),
    ] {
        let env = [(JOB, "loud"), (JOB_OFFSET, offset)];
        let log = subsystem(&sdk, &env, JOB_SUBSYSTEM).await;
        assert_eq!(log.stdout.len(), bytes, "{offset}");
        assert_eq!(
            log.notices,
            [Notice::Omitted { bytes: omitted }],
            "{offset}"
        );
    }
    let env = [(JOB, "loud"), (JOB_OFFSET, "588888")];
    let end = subsystem(&sdk, &env, JOB_SUBSYSTEM).await;
    assert_eq!((&*end.stdout, end.notices.len()), (&b"100000\n"[..], 0));
    let record = jobs(&client).await.remove(0);
    assert_eq!(
        (record.log_bytes, record.dropped_bytes),
        (1000, 588_895 - 1000)
    );
    assert!(sandbox.home.path().join("done").exists());
}

#[tokio::test]
async fn a_job_has_no_input_and_its_daemon_does_not_delay_a_follower() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    exec_with(&client, &[(JOB, "d")], "cat; sleep 1234902 & echo done").await;
    let followed = subsystem(&client, &[(JOB, "d"), (JOB_FOLLOW, "1")], JOB_SUBSYSTEM).await;
    assert_eq!(
        (&*followed.stdout, followed.code),
        (&b"done\n"[..], Some(0))
    );
    exec(&client, "kill $(pgrep -f 'sleep 123490[2]')").await;
}

#[tokio::test]
async fn what_a_job_leaves_behind_is_logged_and_reported() {
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_millis(50)));
    let client = sandbox.connect_as_sdk().await;
    let command = "(while [ ! -e go ]; do sleep 0.02; done; echo late; touch done) & echo begun";
    exec_with(&client, &[(JOB, "d")], command).await;
    let env = [(JOB, "d"), (JOB_FOLLOW, "1")];
    let followed = subsystem(&client, &env, JOB_SUBSYSTEM).await;
    assert_eq!(
        (&*followed.stdout, followed.code, &*followed.notices),
        (&b"begun\n"[..], Some(0), &[Notice::OutputHeld][..])
    );
    std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    let reading = async {
        loop {
            let log = subsystem(&client, &[(JOB, "d")], JOB_SUBSYSTEM).await;
            if log.stdout == b"begun\nlate\n" && log.notices.is_empty() {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, reading)
        .await
        .expect("the late output is missing");
}

#[tokio::test]
async fn a_ttl_is_extended() {
    let sandbox = TestSandbox::new(|config| {
        config
            .with_ttl(Duration::from_secs(100))
            .with_max_lifetime(Duration::from_secs(1000))
    });
    let client = sandbox.connect(PIPE).await;
    for (requested, min, max) in [("500", 499, 500), ("5", 495, 500), ("999999", 990, 1000)] {
        let ended = subsystem(&client, &[(EXTEND_SECONDS, requested)], LIFETIME_SUBSYSTEM).await;
        let left: u64 = String::from_utf8(ended.stdout).unwrap().parse().unwrap();
        assert!((min..=max).contains(&left), "{requested}: {left}");
        assert_eq!(ended.code, Some(0));
    }
    for invalid in ["", "-1", "soon", "1.5"] {
        assert!(
            subsystem(&client, &[(EXTEND_SECONDS, invalid)], LIFETIME_SUBSYSTEM)
                .await
                .refused,
            "{invalid:?}"
        );
    }
}
