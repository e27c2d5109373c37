//! When the ttl of a new sandbox begins.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use sandbox::prelude::*;
use sandbox::{
    Canary, Capabilities, Egress, ExecRequest, NetworkIsolation, PortListener, PortProbe,
    SandboxSpec,
};
use sandbox_core::{Accept, MockSandboxBackend, MockSession};

use crate::support::{access, client, info, sessions};

const TTL: Duration = Duration::from_secs(3);
/// How long the creation may take.
const LONGEST: Duration = Duration::from_secs(60);

/// What happens, in order.
#[derive(Debug, Clone, Default)]
struct Steps(Arc<Mutex<Vec<String>>>);

impl Steps {
    fn push(&self, step: &str, time: Option<Duration>) {
        let seconds = time.unwrap_or_default().as_secs();
        self.0.lock().unwrap().push(format!("{step} {seconds}"));
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A backend whose sandboxes run our own server, or one of their images.
fn backend(sandbox_sshd: bool, steps: &Steps) -> MockSandboxBackend {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    let mut capabilities = Capabilities::default();
    capabilities.network = true;
    capabilities.network_isolation = true;
    capabilities.server_enforces_ttl = sandbox_sshd;
    capabilities.sandbox_sshd = sandbox_sshd;
    backend.expect_capabilities().return_const(capabilities);
    backend.expect_control_plane().returning(Vec::new);
    backend.expect_isolate_network().returning(|_, _| {
        let canary = Canary {
            name: "the API server",
            address: "10.96.0.1:443".parse().unwrap(),
        };
        Ok(NetworkIsolation::new(vec![canary], "nothing enforces it"))
    });
    let created = steps.clone();
    backend.expect_create().returning(move |spec: SandboxSpec| {
        created.push("create", spec.lifetime.ttl);
        Ok(info(&spec.id.unwrap()))
    });
    backend.expect_access().returning(|id| Ok(access(id)));
    backend.expect_get().returning(|id, _| Ok(info(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::empty())));
    backend
}

/// A session that notes commands and the start of a ttl.
fn session(steps: &Steps) -> MockSession {
    let mut session = MockSession::new();
    let (run, started) = (steps.clone(), steps.clone());
    session.expect_output().returning(move |_, _| {
        run.push("run", None);
        Ok(Output::new(ExitStatus::Code(0), "", ""))
    });
    session.expect_start_ttl().returning(move |ttl| {
        started.push("start", Some(ttl));
        Ok(ttl)
    });
    session
}

fn expect_assign(backend: &mut MockSandboxBackend, steps: &Steps) {
    let steps = steps.clone();
    backend.expect_assign().returning(move |id, _, assignment| {
        steps.push("assign", assignment.ttl);
        Ok(info(id))
    });
}

fn slow() -> ExecRequest {
    ExecRequest::from_shell("pip install x")
}

#[tokio::test]
async fn a_ttl_begins_after_the_initial_commands() {
    let steps = Steps::default();
    let mut backend = backend(true, &steps);
    expect_assign(&mut backend, &steps);
    let client = client(backend, sessions(session(&steps)));
    let sandbox = || client.sandbox().create_timeout(LONGEST).ttl(TTL);
    // Until the ttl begins, there is one that ends what a killed creator has left.
    sandbox().init(slow()).create().await.unwrap();
    assert_eq!(steps.take(), ["create 63", "run 0", "assign 3", "start 3"]);
    let day = Duration::from_secs(86_400);
    let most = sandbox().max_lifetime(day).ttl(day - TTL);
    most.init(slow()).create().await.unwrap();
    assert_eq!(
        steps.take(),
        ["create 86400", "run 0", "assign 86397", "start 86397"]
    );
    // Nothing takes a while, or nothing is gained.
    sandbox().create().await.unwrap();
    assert_eq!(steps.take(), ["create 3"]);
    let whole = sandbox().max_lifetime(TTL);
    whole.init(slow()).create().await.unwrap();
    assert_eq!(steps.take(), ["create 3", "run 0"]);
}

#[tokio::test]
async fn the_server_of_an_image_keeps_its_ttl() {
    let steps = Steps::default();
    let client = client(backend(false, &steps), sessions(session(&steps)));
    let sandbox = client.sandbox().create_timeout(LONGEST).ttl(TTL);
    sandbox.init(slow()).create().await.unwrap();
    assert_eq!(steps.take(), ["create 3", "run 0"]);
}

/// A listener that nothing connects to.
struct Silence;

#[async_trait::async_trait]
impl Accept for Silence {
    async fn accept(&mut self) -> std::io::Result<Option<Box<dyn sandbox::ByteStream>>> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_ttl_begins_after_the_proof_that_there_is_no_network() {
    let steps = Steps::default();
    let mut backend = backend(true, &steps);
    expect_assign(&mut backend, &steps);
    let mut session = session(&steps);
    let proved = steps.clone();
    session
        .expect_probe_port()
        .returning(move |host, _, silence| {
            if host == "127.0.0.1" {
                return Ok(PortProbe::Open);
            }
            proved.push("prove", Some(silence));
            Ok(PortProbe::Silent)
        });
    session
        .expect_listen()
        .returning(|_| Ok(PortListener::new(4321, Silence)));
    session.expect_create_dir().returning(|_, _| Ok(()));
    session.expect_upload().returning(|_, _| Ok(1));
    let client = client(backend, sessions(session));
    let sandbox = client.sandbox().create_timeout(LONGEST).ttl(TTL);
    sandbox.egress(Egress::packages()).create().await.unwrap();
    assert_eq!(
        steps.take(),
        ["create 63", "prove 1", "assign 3", "start 3"]
    );
}

#[tokio::test]
async fn an_end_that_cannot_be_recorded_ends_the_sandbox_all_the_same() {
    let steps = Steps::default();
    let mut backend = backend(true, &steps);
    backend.expect_assign().returning(|_, _, _| {
        Err(Error::Backend {
            backend: "mock",
            operation: "patch the sandbox",
            message: "forbidden".into(),
            transient: false,
            source: None,
        })
    });
    let client = client(backend, sessions(session(&steps)));
    let sandbox = client.sandbox().create_timeout(LONGEST).ttl(TTL);
    sandbox.init(slow()).create().await.unwrap();
    assert_eq!(steps.take(), ["create 63", "run 0", "start 3"]);
}

#[tokio::test]
async fn a_sandbox_whose_ttl_does_not_begin_is_deleted() {
    let steps = Steps::default();
    for is_gone in [false, true] {
        let mut backend = backend(true, &steps);
        backend.expect_assign().returning(move |id, _, _| {
            if is_gone {
                return Err(Error::NotFound { id: id.clone() });
            }
            Ok(info(id))
        });
        backend.expect_delete().times(1).returning(|_, _| Ok(()));
        let mut session = MockSession::new();
        session
            .expect_output()
            .returning(|_, _| Ok(Output::new(ExitStatus::Code(0), "", "")));
        session
            .expect_start_ttl()
            .returning(|_| Err(Error::unsupported("a ttl", "this server", "use another")));
        let client = client(backend, sessions(session));
        let sandbox = client.sandbox().create_timeout(LONGEST).ttl(TTL);
        let error = sandbox.init(slow()).create().await.unwrap_err();
        assert!(matches!(error, Error::Creation(_)), "{error}");
    }
}
