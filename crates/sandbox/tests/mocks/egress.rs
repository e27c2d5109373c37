//! Egress rules: refused where nothing enforces them, and served where something does.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use sandbox::prelude::*;
use sandbox::{
    ByteStream, Canary, Capabilities, ConnectionStage, CreationReason, CreationStage, Dial, Egress,
    Env, Isolation, NetworkIsolation, PortListener, PortProbe, Resolve, SandboxEventKind,
    SandboxSpec, Upstream,
};
use sandbox_core::{Accept, MockSandboxBackend, MockSession};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{backend, client, event, info, sessions};

fn capabilities(network: bool) -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.network = network;
    capabilities
}

/// Those of a cluster.
fn isolating() -> Capabilities {
    let mut capabilities = capabilities(true);
    capabilities.network_isolation = true;
    capabilities
}

fn isolation() -> NetworkIsolation {
    let canary = Canary {
        name: "the API server",
        address: "10.96.0.1:443".parse().unwrap(),
    };
    NetworkIsolation::new(vec![canary], "nothing enforces it")
}

/// A session from which the canary has this answer, and its own server is reached.
fn probed_session(canary: PortProbe) -> MockSession {
    let mut session = MockSession::new();
    session.expect_probe_port().returning(move |host, port, _| {
        Ok(match (host, port) {
            ("127.0.0.1", 22) => PortProbe::Open,
            ("10.96.0.1", 443) => canary,
            other => panic!("{other:?}"),
        })
    });
    session
}

fn is_unsupported(error: &Error) -> bool {
    matches!(error, Error::Unsupported(_)) && error.to_string().contains("enforcing egress rules")
}

/// A listener that nothing connects to.
struct Silence;

#[async_trait]
impl Accept for Silence {
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_backend_with_a_network_refuses_before_anything_is_created() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_capabilities()
        .return_const(capabilities(true));
    let client = client(backend, sessions(MockSession::new()));
    let refused = client.sandbox().egress(Egress::none()).create().await;
    let error = refused.unwrap_err();
    assert!(is_unsupported(&error), "{error}");
}

#[tokio::test]
async fn a_sandbox_that_turns_out_to_have_a_network_is_deleted() {
    let mut backend = backend(1, vec![]);
    backend
        .expect_capabilities()
        .return_const(capabilities(false));
    backend.expect_control_plane().returning(Vec::new);
    let client = client(backend, sessions(MockSession::new()));
    let refused = client.sandbox().egress(Egress::none()).create().await;
    let error = refused.unwrap_err();
    assert!(is_unsupported(&error), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_with_a_network_is_set_up_once_it_is_proved_to_have_none() {
    for canary in [PortProbe::Silent, PortProbe::Refused] {
        let mut backend = backend(0, vec![]);
        backend.expect_capabilities().return_const(isolating());
        backend.expect_control_plane().returning(Vec::new);
        backend
            .expect_isolate_network()
            .times(1)
            .returning(|_, _| Ok(isolation()));
        let mut session = probed_session(canary);
        // Nothing else happens inside before.
        let mut order = mockall::Sequence::new();
        session
            .expect_listen()
            .times(1)
            .in_sequence(&mut order)
            .returning(|_| Ok(PortListener::new(4321, Silence)));
        session
            .expect_create_dir()
            .in_sequence(&mut order)
            .times(2)
            .returning(|_, _| Ok(()));
        // The variables, and the program that carries ssh.
        session.expect_upload().times(2).returning(|_, _| Ok(1));
        let sandbox = client(backend, sessions(session))
            .sandbox()
            .egress(Egress::packages())
            .create()
            .await
            .unwrap();
        assert_eq!(sandbox.egress(), Some(Egress::packages()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_still_reaches_the_network_is_deleted() {
    let mut backend = backend(1, vec![event(SandboxEventKind::Started, "")]);
    backend.expect_capabilities().return_const(isolating());
    backend.expect_control_plane().returning(Vec::new);
    backend
        .expect_isolate_network()
        .returning(|_, _| Ok(isolation()));
    let client = client(backend, sessions(probed_session(PortProbe::Open)));
    let begun = tokio::time::Instant::now();
    let refused = client.sandbox().egress(Egress::none()).create().await;
    let Err(Error::Creation(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Isolate, CreationReason::NotEnforced)
    );
    let text = error.to_string();
    for part in [
        "isolating failed: it still reaches the API server at 10.96.0.1:443 30 s after a policy",
        "nothing enforces it, or accept",
        "with unverified_egress()",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(
        begun.elapsed() < Duration::from_secs(31),
        "{:?}",
        begun.elapsed()
    );
    assert!(!Error::from(*error).is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_isolated_is_deleted() {
    for (transient, reason) in [
        (false, CreationReason::Rejected),
        (true, CreationReason::Unavailable),
    ] {
        let mut backend = backend(1, vec![]);
        backend.expect_capabilities().return_const(isolating());
        backend.expect_control_plane().returning(Vec::new);
        backend.expect_isolate_network().returning(move |_, _| {
            Err(Error::Backend {
                backend: "mock",
                operation: "keep the sandbox from the network",
                message: "a policy lets it out".into(),
                transient,
                source: None,
            })
        });
        let client = client(backend, sessions(MockSession::new()));
        let refused = client.sandbox().egress(Egress::none()).create().await;
        let Err(Error::Creation(error)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(
            (error.stage, error.reason),
            (CreationStage::Isolate, reason)
        );
        assert!(error.message.contains("a policy lets it out"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_session_that_ends_during_the_proof_is_no_proof() {
    let mut backend = backend(1, vec![]);
    backend.expect_capabilities().return_const(isolating());
    backend.expect_control_plane().returning(Vec::new);
    backend
        .expect_isolate_network()
        .returning(|_, _| Ok(isolation()));
    let mut session = MockSession::new();
    session
        .expect_probe_port()
        .returning(|host, _, _| match host {
            "127.0.0.1" => Ok(PortProbe::Open),
            _ => Err(Error::connection(
                ConnectionStage::Channel,
                "the connection was lost",
                None,
            )),
        });
    let client = client(backend, sessions(session));
    let refused = client.sandbox().egress(Egress::none()).create().await;
    let Err(Error::Creation(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Isolate, CreationReason::Unreachable)
    );
}

/// A listener to which one connection comes.
struct OneConnection(Option<tokio::io::DuplexStream>);

#[async_trait]
impl Accept for OneConnection {
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        match self.0.take() {
            Some(stream) => Ok(Some(Box::new(stream))),
            None => std::future::pending().await,
        }
    }
}

/// Rules that allow everything do not include what controls the sandboxes, also if nothing is proved.
#[tokio::test]
async fn the_control_plane_is_refused_unless_a_rule_names_it() {
    for (named, is_refused) in [("10.0.0.0/8:*", true), ("10.96.0.1:443", false)] {
        let mut backend = backend(0, vec![]);
        backend.expect_capabilities().return_const(isolating());
        backend
            .expect_control_plane()
            .returning(|| vec!["10.96.0.1".parse().unwrap()]);
        let (mut inside, served) = tokio::io::duplex(4096);
        let served = Mutex::new(Some(served));
        let mut session = MockSession::new();
        session.expect_listen().returning(move |_| {
            let stream = served.lock().unwrap().take();
            Ok(PortListener::new(4321, OneConnection(stream)))
        });
        session.expect_create_dir().returning(|_, _| Ok(()));
        session.expect_upload().returning(|_, _| Ok(1));
        let _sandbox = client(backend, sessions(session))
            .sandbox()
            .egress(Egress::open().allow(named).unwrap())
            .egress_through(Arc::new(NoNames), Arc::new(NoRoute))
            .unverified_egress()
            .create()
            .await
            .unwrap();
        inside
            .write_all(b"CONNECT 10.96.0.1:443 HTTP/1.1\r\nHost: 10.96.0.1:443\r\n\r\n")
            .await
            .unwrap();
        let mut answer = vec![0; 12];
        inside.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer == b"HTTP/1.1 403", is_refused, "{named}");
    }
}

#[derive(Debug)]
struct NoNames;

#[async_trait]
impl Resolve for NoNames {
    async fn resolve(&self, _: &str) -> io::Result<Vec<std::net::IpAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

#[derive(Debug)]
struct NoRoute;

#[async_trait]
impl Dial for NoRoute {
    async fn dial(&self, _: std::net::SocketAddr) -> io::Result<Box<dyn Upstream>> {
        Err(io::ErrorKind::NetworkUnreachable.into())
    }
}

#[tokio::test]
async fn commands_get_the_variables_and_those_of_the_caller_are_stronger() {
    let mut backend = MockSandboxBackend::new();
    let isolated = |id: &SandboxId| {
        let mut info = info(id);
        info.isolation = Isolation {
            kind: "namespaces".into(),
            applied: vec!["network namespace".into()],
        };
        info
    };
    backend.expect_name().return_const("mock");
    backend
        .expect_capabilities()
        .return_const(capabilities(false));
    backend.expect_control_plane().returning(Vec::new);
    backend
        .expect_create()
        .returning(move |spec: SandboxSpec| Ok(isolated(&spec.id.unwrap())));
    backend
        .expect_access()
        .returning(|id| Ok(crate::support::access(id)));
    backend
        .expect_get()
        .returning(move |id, _| Ok(isolated(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(futures_util::stream::empty())));
    let seen: Arc<Mutex<Env>> = Arc::default();
    let mut session = MockSession::new();
    session
        .expect_listen()
        .returning(|_| Ok(PortListener::new(4321, Silence)));
    session.expect_create_dir().returning(|_, _| Ok(()));
    session.expect_upload().returning(|_, _| Ok(1));
    let env = Arc::clone(&seen);
    session.expect_output().returning(move |request, _| {
        *env.lock().unwrap() = request.env;
        Ok(Output::new(ExitStatus::Code(0), "", ""))
    });
    let sandbox = client(backend, sessions(session))
        .sandbox()
        .egress(Egress::none())
        .env("no_proxy", "own.example")
        .create()
        .await
        .unwrap();
    sandbox.command("true").output().await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let find = |wanted| {
        seen.iter()
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        assert_eq!(find(name), Some("http://127.0.0.1:4321"), "{name}");
    }
    assert_eq!(find("NO_PROXY"), Some("localhost,127.0.0.1,::1"));
    assert_eq!(find("no_proxy"), Some("own.example"));
    assert_eq!(find("NODE_USE_ENV_PROXY"), Some("1"));
    assert!(
        find("JAVA_TOOL_OPTIONS")
            .unwrap()
            .contains("-Dhttps.proxyPort=4321")
    );
}
