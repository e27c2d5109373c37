//! A claim makes one client the sandbox's only one.

use std::time::Duration;

use sandbox_core::KeyPair;
use sandbox_core::protocol::{self, ClaimRefusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::PIPE;
use crate::support::client::{
    Client, Ended, LONG, TestSandbox, collect, exec, exec_with, login, open, subsystem,
};
use crate::support::{processes_with, wait_until};

fn claimable() -> TestSandbox {
    TestSandbox::new(|config| config.with_claimable(true))
}

async fn claim(client: &Client, key: &KeyPair, more: &[(&str, &str)]) -> Ended {
    let mut env = vec![(protocol::CLAIM_KEY, key.public.as_str())];
    env.extend(more);
    subsystem(client, &env, protocol::CLAIM_SUBSYSTEM).await
}

fn refused(refusal: ClaimRefusal) -> Ended {
    Ended {
        stderr: refusal.message().to_owned(),
        code: Some(refusal.exit_code().into()),
        ..Ended::default()
    }
}

/// Logs in on a new connection; `None` if the key is refused.
async fn log_in(sandbox: &TestSandbox, key: &KeyPair) -> Option<Client> {
    let (near, far) = tokio::io::duplex(PIPE);
    let server = sandbox.server.clone();
    tokio::spawn(async move { server.serve_stream(far).await });
    login(near, key).await
}

#[tokio::test]
async fn a_claim_locks_out_the_former_key_and_closes_other_connections() {
    let sandbox = claimable();
    let filler = sandbox.connect(PIPE).await;
    let running = open(&filler, &[]).await;
    running.exec(true, "sleep 1234802").await.unwrap();
    let ready = open(&filler, &[]).await;
    assert!(wait_until(LONG, || !processes_with("sleep 1234802").is_empty()));
    let claimer = sandbox.connect(PIPE).await;
    let key = KeyPair::generate().unwrap();

    let claimed = claim(&claimer, &key, &[(protocol::CLAIM_MAX_SECONDS, "3600")]).await;
    assert_eq!((claimed.code, &*claimed.stderr), (Some(0), ""));

    assert_eq!(
        collect(running).await.code,
        None,
        "no exit status was invented"
    );
    assert_eq!(collect(ready).await, Ended::default());
    assert!(filler.channel_open_session().await.is_err());
    assert!(wait_until(LONG, || processes_with("sleep 1234802").is_empty()));
    assert!(
        log_in(&sandbox, &sandbox.user).await.is_none(),
        "the former key"
    );
    assert_eq!(exec(&claimer, "exec 'echo' 'mine'").await.stdout, b"mine\n");
    let second = log_in(&sandbox, &key).await.unwrap();
    assert_eq!(exec(&second, "exec 'echo' 'also'").await.stdout, b"also\n");
}

#[tokio::test]
async fn a_connection_that_is_not_logged_in_yet_is_closed_by_a_claim() {
    let sandbox = claimable();
    let (mut pending, far) = tokio::io::duplex(PIPE);
    let server = sandbox.server.clone();
    tokio::spawn(async move { server.serve_stream(far).await });
    pending.write_all(b"SSH-2.0-x\r\n").await.unwrap();
    pending.read_u8().await.unwrap();
    let claimer = sandbox.connect(PIPE).await;
    let key = KeyPair::generate().unwrap();
    assert_eq!(claim(&claimer, &key, &[]).await.code, Some(0));
    let mut unread = Vec::new();
    let rest = tokio::time::timeout(LONG, pending.read_to_end(&mut unread));
    rest.await.expect("still connected").unwrap();
}

#[tokio::test]
async fn of_several_claims_at_once_exactly_one_succeeds() {
    for _ in 0..20 {
        let sandbox = claimable();
        let keys = [(); 4].map(|()| KeyPair::generate().unwrap());
        let mut clients = Vec::new();
        for key in keys.clone() {
            clients.push((key, sandbox.connect(PIPE).await));
        }
        let mut claims = tokio::task::JoinSet::new();
        for (key, client) in clients {
            claims.spawn(async move {
                // The winner closes the connections of the others, whose request then has no answer.
                let channel = client.channel_open_session().await.ok()?;
                let name = protocol::CLAIM_KEY;
                channel
                    .set_env(false, name, key.public.as_str())
                    .await
                    .ok()?;
                let claim = protocol::CLAIM_SUBSYSTEM;
                channel.request_subsystem(true, claim).await.ok()?;
                let ended = collect(channel).await;
                (ended.code == Some(0)).then_some((key, client))
            });
        }
        let won: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
        assert_eq!(won.len(), 1);
        for key in &keys {
            let is_winner = key.public == won[0].0.public;
            assert_eq!(log_in(&sandbox, key).await.is_some(), is_winner);
        }
    }
}

#[tokio::test]
async fn a_sandbox_is_claimed_only_if_it_was_started_for_that_and_once() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let key = KeyPair::generate().unwrap();
    let ended = claim(&client, &key, &[]).await;
    assert_eq!(ended, refused(ClaimRefusal::NotClaimable));
    assert!(log_in(&sandbox, &key).await.is_none());

    let sandbox = claimable();
    let client = sandbox.connect(PIPE).await;
    assert_eq!(claim(&client, &key, &[]).await.code, Some(0));
    for again in [&key, &KeyPair::generate().unwrap()] {
        let ended = claim(&client, again, &[]).await;
        assert_eq!(ended, refused(ClaimRefusal::AlreadyClaimed));
    }
    assert!(log_in(&sandbox, &key).await.is_some());
}

#[tokio::test]
async fn a_malformed_claim_changes_nothing() {
    let sandbox = claimable();
    let client = sandbox.connect(PIPE).await;
    let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let (key, other) = (one.public.as_str(), other.public.as_str());
    let several = format!("{key}\n{other}");
    let with_options = format!("restrict,command=\"id\" {key}");
    let with_comment = format!("{key} me@here");
    let huge = "A".repeat(200_000);
    let name = protocol::CLAIM_KEY;
    for env in [
        &[][..],
        &[(name, "")],
        &[(name, "ssh-ed25519 AAAA")],
        &[(name, "not a key")],
        &[(name, &*several)],
        &[(name, &*with_options)],
        &[(name, &*with_comment)],
        &[(name, &*huge)],
        &[(name, sandbox.user.public.as_str())],
        &[(name, key), (protocol::CLAIM_ATTACH_SECONDS, "0")],
        &[(name, key), (protocol::CLAIM_ATTACH_SECONDS, "soon")],
        &[(name, key), (protocol::CLAIM_MAX_SECONDS, "-1")],
        &[(name, key), (protocol::TTL_SECONDS, "1.5")],
        &[(name, key), (protocol::EXTEND_SECONDS, "5")],
    ] {
        let ended = subsystem(&client, env, protocol::CLAIM_SUBSYSTEM).await;
        assert_eq!(ended, refused(ClaimRefusal::Malformed), "{env:.100?}");
    }
    assert!(log_in(&sandbox, &sandbox.user).await.is_some());
    assert_eq!(claim(&client, &one, &[]).await.code, Some(0));
}

#[tokio::test]
async fn a_claim_needs_a_client_that_is_logged_in() {
    let sandbox = claimable();
    let other = KeyPair::generate().unwrap();
    assert!(log_in(&sandbox, &other).await.is_none());
    let (near, far) = tokio::io::duplex(PIPE);
    let server = sandbox.server.clone();
    tokio::spawn(async move { server.serve_stream(far).await });
    let config = std::sync::Arc::new(russh::client::Config::default());
    let handler = crate::support::client::AcceptAnyHostKey;
    let client = russh::client::connect_stream(config, near, handler)
        .await
        .unwrap();
    let opened = tokio::time::timeout(Duration::from_secs(2), client.channel_open_session()).await;
    assert!(!matches!(opened, Ok(Ok(_))), "a channel without a login");
    assert!(
        log_in(&sandbox, &sandbox.user).await.is_some(),
        "nothing has changed"
    );
}

#[tokio::test]
async fn a_claim_sets_the_attach_timeout_anew() {
    let attached = Duration::from_millis(300);
    let sandbox =
        TestSandbox::new(|config| config.with_claimable(true).with_attach_timeout(attached));
    let claimer = sandbox.connect(PIPE).await;
    let key = KeyPair::generate().unwrap();
    assert_eq!(claim(&claimer, &key, &[]).await.code, Some(0));
    drop(claimer);
    let waited = tokio::time::timeout(attached * 4, sandbox.server.wait_for_end()).await;
    assert!(waited.is_err(), "the sandbox is detached");
    assert!(log_in(&sandbox, &key).await.is_some());
}

#[tokio::test]
async fn no_command_gets_the_variables_of_a_claim() {
    let sandbox = claimable();
    let client = sandbox.connect(PIPE).await;
    let env = [
        (protocol::CLAIM_KEY, "claim-value"),
        (protocol::CLAIM_ATTACH_SECONDS, "claim-value"),
        (protocol::CLAIM_MAX_SECONDS, "claim-value"),
    ];
    let ended = exec_with(&client, &env, "env").await;
    let variables = String::from_utf8(ended.stdout).unwrap();
    assert!(
        variables.contains("HOME=") && !variables.contains("claim-value"),
        "{variables}"
    );
}
