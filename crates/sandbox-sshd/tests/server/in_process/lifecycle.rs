//! The configuration, logins and the end of a server.

use std::time::Duration;

use sandbox_core::KeyPair;
use sandbox_sshd::EndReason;
use tokio::io::AsyncWriteExt;

use super::PIPE;
use crate::support::client::{LONG, TestSandbox, collect, exec, login, open};
use crate::support::processes_with;

#[tokio::test]
async fn only_an_authorized_key_logs_in() {
    let sandbox = TestSandbox::new(|config| config);
    for (user, is_authorized) in [
        (&sandbox.user, true),
        (&KeyPair::generate().unwrap(), false),
    ] {
        let (near, far) = tokio::io::duplex(PIPE);
        let server = sandbox.server.clone();
        tokio::spawn(async move { server.serve_stream(far).await });
        assert_eq!(login(near, user).await.is_some(), is_authorized);
    }
}

#[tokio::test]
async fn a_client_that_never_logs_in_is_disconnected() {
    let sandbox = TestSandbox::new(|config| config.with_login_grace(Duration::from_millis(200)));
    for greeting in [
        &b""[..],
        b"SSH-2.0-x\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 100_000],
    ] {
        let (mut near, far) = tokio::io::duplex(PIPE);
        let served = sandbox.server.serve_stream(far);
        let client = async {
            near.write_all(greeting).await.ok();
            tokio::io::copy(&mut near, &mut tokio::io::sink()).await
        };
        let both = tokio::time::timeout(LONG, async { tokio::join!(served, client) });
        both.await.expect("still served").1.unwrap();
    }
}

#[tokio::test]
async fn many_pending_logins_do_not_lock_out_the_owner() {
    let sandbox = TestSandbox::new(|config| config.with_max_pending_logins(4));
    let mut pending = Vec::new();
    for _ in 0..12 {
        let (near, far) = tokio::io::duplex(PIPE);
        let server = sandbox.server.clone();
        pending.push((
            near,
            tokio::spawn(async move { server.serve_stream(far).await }),
        ));
    }
    let client = sandbox.connect(PIPE).await;
    assert_eq!(exec(&client, "exec 'echo' 'in'").await.stdout, b"in\n");
    let waiting = pending
        .iter()
        .filter(|(_, served)| !served.is_finished())
        .count();
    assert!(waiting <= 4, "{waiting} logins are pending");
}

#[tokio::test]
async fn a_shutdown_closes_connections_and_ends_commands() {
    let sandbox = TestSandbox::new(|config| config.with_idle_timeout(Duration::from_millis(300)));
    let socket = sandbox.home.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = sandbox.server.clone();
    let serving = tokio::spawn(async move {
        server
            .serve_unix(listener, async { drop(stopped.await) })
            .await
    });
    let client = login(
        tokio::net::UnixStream::connect(&socket).await.unwrap(),
        &sandbox.user,
    )
    .await
    .unwrap();
    let channel = open(&client, &[]).await;
    channel
        .exec(true, "trap '' TERM HUP; sleep 1234801; sleep 1234801")
        .await
        .unwrap();
    // The open channel defers the idle timeout.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!serving.is_finished());
    stop.send(()).unwrap();
    assert_eq!(
        tokio::time::timeout(LONG, serving).await.unwrap().unwrap(),
        EndReason::Terminated
    );
    assert_eq!(
        collect(channel).await.code,
        None,
        "no exit status was invented"
    );
    assert!(processes_with("sleep 1234801").is_empty());
}

#[tokio::test]
async fn an_idle_server_ends() {
    let sandbox = TestSandbox::new(|config| config.with_idle_timeout(Duration::from_millis(200)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = sandbox.server.serve_tcp(listener, std::future::pending());
    assert_eq!(
        tokio::time::timeout(LONG, serving).await.unwrap(),
        EndReason::Idle
    );
}

#[test]
fn an_invalid_configuration_is_refused() {
    use sandbox_sshd::{Server, ServerConfig};
    let (host, user) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let home = tempfile::tempdir().unwrap();
    let server = |keys: &[String]| {
        let created = Server::new(ServerConfig::new(
            host.private.clone(),
            keys.to_vec(),
            home.path(),
        ));
        created.map(|_| ()).map_err(|error| error.to_string())
    };
    let good = user.public.as_str().to_owned();
    assert_eq!(server(std::slice::from_ref(&good)), Ok(()));
    assert!(server(&[]).unwrap_err().contains("no one could log in"));
    assert!(
        server(&[good.clone(), "ssh-ed25519 AAAA".into()])
            .unwrap_err()
            .contains("number 2")
    );
    assert!(
        server(&[format!("command=\"id\" {good}")])
            .unwrap_err()
            .contains("options")
    );
}
