//! Egress rules: refused where nothing enforces them, and served where something does.

use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sandbox::prelude::*;
use sandbox::{ByteStream, Capabilities, Egress, Env, Isolation, PortListener, SandboxSpec};
use sandbox_core::{Accept, MockSandboxBackend, MockSession};

use crate::support::{backend, client, info, sessions};

fn capabilities(network: bool) -> Capabilities {
    let mut capabilities = Capabilities::default();
    capabilities.network = network;
    capabilities
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
    let client = client(backend, sessions(MockSession::new()));
    let refused = client.sandbox().egress(Egress::none()).create().await;
    let error = refused.unwrap_err();
    assert!(is_unsupported(&error), "{error}");
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
