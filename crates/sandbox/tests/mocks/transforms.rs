//! Hosts with a transform: what is put into the sandbox, and what is not.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sandbox::prelude::*;
use sandbox::{
    Accept, ByteStream, Capabilities, Direction, Egress, HostTransform, Isolation, PortListener,
    SandboxSpec, TransferReason,
};
use sandbox_core::{MockSandboxBackend, MockSession};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{access, client, info, sessions};

const SECRET: &str = "sk-live-0123456789";

/// A listener that nothing connects to.
struct Silence;

#[async_trait]
impl Accept for Silence {
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        std::future::pending().await
    }
}

type Files = Arc<Mutex<BTreeMap<String, String>>>;

/// A session with these files, where more can be stored.
fn session(files: &Files) -> MockSession {
    let mut session = MockSession::new();
    session
        .expect_listen()
        .returning(|_| Ok(PortListener::new(4321, Silence)));
    session
        .expect_canonicalize()
        .returning(|_| Ok("/home/ada".into()));
    session.expect_create_dir().returning(|_, _| Ok(()));
    let stored = Arc::clone(files);
    session.expect_upload().returning(move |request, mut from| {
        let mut text = String::new();
        let read = from.read_to_string(&mut text);
        futures_util::FutureExt::now_or_never(read)
            .unwrap()
            .unwrap();
        let mut stored = stored.lock().unwrap();
        stored.insert(request.path.to_string(), text);
        Ok(0)
    });
    let found = Arc::clone(files);
    session.expect_download().returning(move |request, mut to| {
        let text = found
            .lock()
            .unwrap()
            .get(&request.path.to_string())
            .cloned();
        let Some(text) = text else {
            let reason = TransferReason::NotFound;
            let direction = Direction::Download;
            return Err(Error::transfer(
                direction,
                request.path,
                reason,
                "no such file",
                None,
            ));
        };
        let write = to.write_all(text.as_bytes());
        futures_util::FutureExt::now_or_never(write)
            .unwrap()
            .unwrap();
        Ok(text.len() as u64)
    });
    session
}

fn transform() -> HostTransform {
    // Authorities of this machine are not needed, and may be missing.
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    HostTransform::new("api.example")
        .unwrap()
        .authorities(certified.cert.pem().as_bytes())
        .unwrap()
        .placeholder("API_KEY", SECRET)
        .unwrap()
}

/// A client of a backend whose sandboxes have no network.
fn new_client(session: MockSession) -> Client {
    let isolated = |id: &SandboxId| {
        let mut info = info(id);
        info.isolation = Isolation {
            kind: "namespaces".into(),
            applied: vec!["network namespace".into()],
        };
        info
    };
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_capabilities()
        .return_const(Capabilities::default());
    backend.expect_control_plane().returning(Vec::new);
    backend
        .expect_create()
        .returning(move |spec: SandboxSpec| Ok(isolated(&spec.id.unwrap())));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend
        .expect_get()
        .returning(move |id, _| Ok(isolated(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(futures_util::stream::empty())));
    client(backend, sessions(session))
}

#[tokio::test]
async fn a_sandbox_gets_an_authority_to_trust_and_a_placeholder() {
    let system = "-----BEGIN CERTIFICATE-----\nthe system's";
    for (path, content) in [
        ("/etc/ssl/certs/ca-certificates.crt", system),
        ("/etc/pki/tls/certs/ca-bundle.crt", system),
        // What has no certificates is none of a system's.
        ("/etc/ssl/cert.pem", "something else"),
    ] {
        let files = Files::default();
        files.lock().unwrap().insert(path.into(), content.into());
        let sandbox = new_client(session(&files))
            .sandbox()
            .host_transform(transform())
            .env("CURL_CA_BUNDLE", "own")
            .create()
            .await
            .unwrap();
        assert_eq!(
            sandbox.egress().unwrap().to_string(),
            "none +api.example:443"
        );
        let files = files.lock().unwrap().clone();
        let certificate = &files[".sandbox/egress-ca.pem"];
        assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----\n"));
        let bundle = &files[".sandbox/egress-bundle.pem"];
        assert!(bundle.ends_with(&**certificate), "{bundle}");
        assert_eq!(
            bundle.starts_with(&format!("{content}\n")),
            content == system
        );
        let environment = &files[".sandbox/environment"];
        for line in [
            "SSL_CERT_FILE=/home/ada/.sandbox/egress-bundle.pem\n",
            "NODE_EXTRA_CA_CERTS=/home/ada/.sandbox/egress-ca.pem\n",
            "CURL_CA_BUNDLE=own\n",
            "API_KEY=sbx-placeholder-",
        ] {
            assert!(environment.contains(line), "{line}: {environment}");
        }
        for (path, text) in &files {
            assert!(
                !text.contains("0123456789") && !text.contains("PRIVATE"),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn what_cannot_be_kept_secret_is_refused_before_anything_is_created() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    let mut capabilities = Capabilities::default();
    capabilities.network = true;
    capabilities.network_isolation = true;
    backend.expect_capabilities().return_const(capabilities);
    let client = client(backend, sessions(MockSession::new()));
    let sandbox = || client.sandbox().host_transform(transform());
    for (builder, message) in [
        (
            sandbox().egress(Egress::internet()),
            "lets the sandbox reach nearly every host",
        ),
        (
            sandbox().egress("none +*:443".parse().unwrap()),
            "lets the sandbox reach nearly every host",
        ),
        (
            sandbox().unverified_egress(),
            "the transform of api.example:443",
        ),
        (sandbox().host_transform(transform()), "two for this host"),
    ] {
        let error = builder.create().await.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
    }
}
