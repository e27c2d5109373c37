//! Whether a port can be reached from inside: what answers, what refuses, what is silent, and what says nothing.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{ConnectionStage, Connector, PortProbe, Session};
use sandbox_ssh::{SshOptions, SshSessions};

use crate::support::delayed_server::{DELAY, DelayedConnector};
use crate::support::{InProcessSshd, openssh, session, stage};

const HOST: &str = "127.0.0.1";
const SILENCE: Duration = Duration::from_millis(300);

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// A port at which nothing answers: its listener never accepts, and its queue is full.
struct SilentPort {
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
    port: u16,
}

impl SilentPort {
    fn new() -> Self {
        let (listener, port) = listen();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            waiting.push(stream);
            assert!(waiting.len() < 10_000, "the queue is endless");
        }
        Self {
            _listener: listener,
            _waiting: waiting,
            port,
        }
    }
}

async fn probe(session: &Arc<dyn Session>, port: u16) -> PortProbe {
    session.probe_port(HOST, port, SILENCE).await.unwrap()
}

async fn check_answers(session: &Arc<dyn Session>) {
    let (listener, port) = listen();
    for _ in 0..3 {
        assert_eq!(probe(session, port).await, PortProbe::Open);
    }
    drop(listener);
    assert_eq!(probe(session, port).await, PortProbe::Refused);
    let silent = SilentPort::new();
    let begun = Instant::now();
    assert_eq!(probe(session, silent.port).await, PortProbe::Silent);
    assert!(begun.elapsed() >= SILENCE, "{:?}", begun.elapsed());
    // The session is as usable as before.
    let (_listener, port) = listen();
    assert_eq!(probe(session, port).await, PortProbe::Open);
}

#[tokio::test]
async fn the_own_server_reports_what_answers_refuses_and_is_silent() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    check_answers(&session).await;
    assert_eq!(
        session
            .probe_port("no.such.name", 1, SILENCE)
            .await
            .unwrap(),
        PortProbe::Refused
    );
}

#[tokio::test]
async fn openssh_reports_it_as_well_but_not_what_it_does_not_try() {
    let Some(daemon) = openssh::start(&[]) else {
        return;
    };
    check_answers(&daemon.session().await).await;
    let Some(daemon) = openssh::start(&["AllowTcpForwarding no"]) else {
        return;
    };
    let (_listener, port) = listen();
    let error = daemon
        .session()
        .await
        .probe_port(HOST, port, SILENCE)
        .await
        .unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Channel);
    assert!(error.to_string().contains("AllowTcpForwarding"), "{error}");
}

#[tokio::test]
async fn a_slow_way_to_the_server_is_no_silence() {
    let sshd = InProcessSshd::new();
    let hops = 20;
    let mut connector: Arc<dyn Connector> = Arc::clone(&sshd.connector) as _;
    for _ in 0..hops {
        connector = Arc::new(DelayedConnector(connector));
    }
    let silence = Duration::from_millis(90);
    assert!(silence < DELAY * hops, "less than half a round trip");
    let sessions = SshSessions::new(connector, SshOptions::default());
    let session = session(&sessions, &sshd.access).await;
    let (_listener, port) = listen();
    for _ in 0..3 {
        assert_eq!(
            session.probe_port(HOST, port, silence).await.unwrap(),
            PortProbe::Open
        );
    }
}

#[tokio::test]
async fn a_connection_that_ends_meanwhile_says_nothing() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let silent = SilentPort::new();
    let probing = tokio::spawn(async move {
        session
            .probe_port(HOST, silent.port, Duration::from_secs(20))
            .await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    sshd.connector.cut().await;
    let error = probing.await.unwrap().unwrap_err();
    assert_eq!(stage(&error), ConnectionStage::Channel);
}

#[tokio::test]
async fn a_probe_that_is_dropped_leaves_nothing() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let silent = SilentPort::new();
    let long = Duration::from_secs(60);
    let limit = Duration::from_millis(200);
    let dropped = tokio::time::timeout(limit, session.probe_port(HOST, silent.port, long)).await;
    assert!(dropped.is_err());
    let (_listener, port) = listen();
    assert_eq!(probe(&session, port).await, PortProbe::Open);
}
