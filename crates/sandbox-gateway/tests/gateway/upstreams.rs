//! Secrets of the operator, which sandboxes use and never have. The origin is a server of this machine.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cases;
use crate::egress::put;
use crate::support::World;

cases![
    secrets_of_the_operator_are_used_and_not_had,
    any_replica_serves_the_upstreams,
    what_waits_in_a_pool_has_the_upstreams,
];

const SECRET: &str = "sk-live-0123456789";

/// A request to the upstream that the variable names. Prints what comes back.
const ASK_UPSTREAM: &str = r#"python3 -c '
import os, urllib.request
try:
    print(urllib.request.urlopen(os.environ["MODELS_URL"] + "/chat", timeout=20).read().decode())
except KeyError:
    print("no upstream")
except OSError as error:
    print("offline" if "refused" in str(error) or "reset" in str(error) else error)
' "#;

/// An HTTPS origin of this machine, and the settings of a template that has it as an upstream.
struct Origin {
    /// The heads of the requests.
    heads: Arc<Mutex<String>>,
    yaml: String,
    _directory: tempfile::TempDir,
}

impl Origin {
    /// `more` has further fields of the template.
    async fn start(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key.into())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                seen.lock().unwrap().push_str(&head);
                let reply =
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
                let _written = stream.write_all(reply).await;
                let _ended = stream.shutdown().await;
            }
        });
        let write = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.display().to_string()
        };
        let ca = write("ca.pem", &certified.cert.pem());
        let secret = write("secret", &format!("{SECRET}\n"));
        let upstream = format!(
            "{{url: 'https://{address}/v1', variables: [MODELS_URL], ca: {ca}, secret: 'file:{secret}'}}"
        );
        // The address is not public, so a rule has to be about its network.
        let egress = format!("{{allow: ['127.0.0.0/8:*'], upstreams: {{models: {upstream}}}}}");
        Self {
            heads,
            yaml: format!("templates: {{base: {{egress: {egress}{more}}}}}"),
            _directory: directory,
        }
    }

    fn count_requests(&self) -> usize {
        let heads = self.heads.lock().unwrap();
        let sent = format!("authorization: Bearer {SECRET}\r\n");
        assert_eq!(
            heads.matches(&sent).count(),
            heads.matches("GET /v1/chat ").count()
        );
        heads.matches(&sent).count()
    }
}

/// What a command in the sandbox prints.
async fn run(world: &World, id: &str, command: &str) -> String {
    let client = world.client().await;
    let handle = client.connect(&id.parse().unwrap()).await.unwrap();
    let output = handle.shell(command).output().await.unwrap();
    output.stdout_lossy()
}

/// Whether any file below a directory has the secret in it.
fn has_secret(directory: &Path) -> bool {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_secret(&entry.path()),
        Ok(kind) if kind.is_file() => {
            let content = std::fs::read(entry.path()).unwrap_or_default();
            String::from_utf8_lossy(&content).contains(SECRET)
        }
        Ok(_) | Err(_) => false,
    })
}

async fn secrets_of_the_operator_are_used_and_not_had() {
    let origin = Origin::start("").await;
    let world = World::start_with(&origin.yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    assert_eq!(origin.count_requests(), 1);
    let visible = run(
        &world,
        &id,
        "env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null",
    )
    .await;
    assert!(
        visible.contains("MODELS_URL=http://127.0.0.1:") && !visible.contains(SECRET),
        "{visible}"
    );
    assert!(!has_secret(&world.state_dir()));
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await;
    assert!(!format!("{info:?}").contains(SECRET), "{info:?}");

    // Who denies everything denies it as well, and can have it again.
    let replaced = put(&world, &id, json!({"denyOut": ["0.0.0.0/0"]})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    let denied = run(&world, &id, ASK_UPSTREAM).await;
    assert!(denied.contains("403"), "{denied}");
    let replaced = put(&world, &id, json!({})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");

    // One that was created with nothing can have it later.
    let offline = world.create(json!({"allow_internet_access": false})).await;
    assert_eq!(run(&world, &offline, ASK_UPSTREAM).await, "no upstream\n");
    let replaced = put(&world, &offline, json!({})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    assert_eq!(run(&world, &offline, ASK_UPSTREAM).await, "hello\n");

    // A caller names no upstream.
    let own = json!({"network": {"upstreams": {"x": {"url": "https://x.example"}}}});
    let refused = world
        .send(Method::POST, "/v2/sandboxes", Some(own))
        .await
        .error(400);
    assert!(refused.contains("network.upstreams"), "{refused}");
    assert_eq!(origin.count_requests(), 3);
    world.clean_up().await;
}

async fn any_replica_serves_the_upstreams() {
    let origin = Origin::start("").await;
    let mut world = World::start_with(&origin.yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    world.stop().await.unwrap();
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "offline\n");
    // Another one serves what it finds, without a request about it.
    world.add_replica(&origin.yaml).await;
    let mut said = String::new();
    for _ in 0..100 {
        said = run(&world, &id, ASK_UPSTREAM).await;
        if said == "hello\n" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said, "hello\n");
    assert_eq!(origin.count_requests(), 2);
    world.clean_up().await;
}

async fn what_waits_in_a_pool_has_the_upstreams() {
    let origin = Origin::start(", pool: {size: 1}").await;
    let world = World::start_with(&origin.yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    let denied = world.create(json!({"allow_internet_access": false})).await;
    let said = run(&world, &denied, ASK_UPSTREAM).await;
    assert!(said.contains("403") || said == "no upstream\n", "{said}");
    assert_eq!(origin.count_requests(), 1);
    world.clean_up().await;
}
