//! What sandboxes may reach, which the operator decides. Everything stays on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sandbox::{
    Capabilities, Client, Defaults, Egress, Error, HostTransform, MockSandboxBackend,
    MockSessionSource, NamedUpstream, Settings,
};
use sandbox_mcp::{McpConfig, McpServer};
use sandbox_testkit::https::HttpsOrigin;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{World, client_of};

crate::cases![
    rules_are_the_operator_s_and_decisions_are_recorded,
    without_rules_there_is_no_network_and_that_is_said,
    a_secret_of_the_operator_is_used_and_not_had,
    a_host_is_asked_by_its_own_name_with_a_secret_that_is_not_had,
    a_backend_with_a_network_keeps_sandboxes_from_it_unless_the_operator_says_so,
    what_cannot_be_kept_is_refused_at_the_start,
];

/// Sends a request for the URL in `$URL` through the proxy, and prints the status.
const ASK: &str = "python3 -c \"
import http.client, os
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['HTTP_PROXY'].rsplit(':', 1)[1]), timeout=20)
connection.request('GET', os.environ['URL'])
print(connection.getresponse().status)
\"";

async fn ask(world: &mut World, url: &str) -> String {
    let arguments = json!({"command": ASK, "env": {"URL": url}});
    let data = world.use_tool("command_run", arguments).await;
    data["output"].as_str().unwrap().trim().to_owned()
}

async fn description(world: &mut World, tool: &str) -> String {
    let listed = world.request("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let found = tools.iter().find(|found| found["name"] == tool).unwrap();
    found["description"].as_str().unwrap().to_owned()
}

/// A web server of this machine; returns its port.
async fn start_web_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _read = stream.read(&mut [0; 4096]).await;
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _written = stream.write_all(response).await;
        }
    });
    port
}

async fn rules_are_the_operator_s_and_decisions_are_recorded() {
    let port = start_web_server().await;
    let rule = format!("127.0.0.0/8:{port}");
    let mut world = World::start_with(|config, dir| {
        config.egress = Some(Egress::none().allow(&rule).unwrap());
        config.audit = Some(dir.join("audit"));
    })
    .await;
    let text = description(&mut world, "command_run").await;
    assert!(text.contains(&format!("none +{rule}")), "{text}");
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(ask(&mut world, &url).await, "200");
    assert_eq!(ask(&mut world, "http://evil.example/").await, "403");

    // A model changes nothing about it.
    for arguments in [json!({"egress": "open"}), json!({"egress_allow": ["*"]})] {
        world.fail("sandbox_create", arguments).await;
    }
    let created = world.use_tool("sandbox_create", json!({})).await;
    let arguments = json!({"sandbox": created["sandbox"], "command": ASK, "env": {"URL": "http://evil.example/"}});
    let data = world.use_tool("command_run", arguments).await;
    assert_eq!(data["output"], "403\n");

    // A decision is recorded when it was made, which is before its response.
    let lines = world.audit_lines();
    let decisions: Vec<&Value> = lines
        .iter()
        .filter(|line| line["egress"].is_object())
        .collect();
    let refused: Vec<&&Value> = decisions
        .iter()
        .filter(|line| line["egress"]["outcome"] == "refused")
        .collect();
    assert_eq!(refused.len(), 2, "{lines:?}");
    assert_eq!(refused[0]["egress"]["host"], "evil.example");
    assert_eq!(refused[1]["sandbox"], created["sandbox"]);
    let opened = decisions
        .iter()
        .find(|line| line["egress"]["outcome"] == "opened");
    let opened = opened.unwrap();
    assert_eq!(opened["egress"]["rule"], format!("allow {rule}"));
    assert_eq!(opened["egress"]["port"], port);
    assert!(opened["time"].is_string() && opened["session"].is_string());
    world.finish().await;
}

async fn without_rules_there_is_no_network_and_that_is_said() {
    let mut world = World::start().await;
    let text = description(&mut world, "command_run").await;
    assert!(text.contains("no network"), "{text}");
    assert_eq!(world.run("echo ${HTTP_PROXY-none}").await, "none\n");
    world.finish().await;
}

const SECRET: &str = "sk-live-0123456789";

/// An HTTPS origin of this machine, where it is, and the authority to trust.
async fn start_origin() -> (HttpsOrigin, SocketAddr, String) {
    let origin = HttpsOrigin::bind(&["127.0.0.1", "localhost"]).await;
    let origin = origin.unwrap();
    let (address, authority) = (origin.address(), origin.authority());
    (origin, address, authority)
}

async fn a_secret_of_the_operator_is_used_and_not_had() {
    let (origin, address, authority) = start_origin().await;
    let heads = origin.answer_with_text("hello");
    let upstream = NamedUpstream::new("models", &format!("https://{address}/v1"))
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap()
        .variable("MODELS_URL")
        .unwrap()
        .secret(SECRET)
        .unwrap();
    let mut world = World::start_with(|config, dir| {
        config.egress = Some(Egress::none().allow(&address.to_string()).unwrap());
        config.upstreams = vec![upstream];
        config.audit = Some(dir.join("audit"));
    })
    .await;
    let text = description(&mut world, "command_run").await;
    assert!(text.contains("need no key of their own: models."), "{text}");
    let ask = "python3 -c \"
import os, urllib.request
print(urllib.request.urlopen(os.environ['MODELS_URL'] + '/chat', timeout=20).read().decode())
\"";
    assert_eq!(world.run(ask).await, "hello\n");
    let head = heads.text();
    assert!(
        head.starts_with("GET /v1/chat ")
            && head.contains(&format!("authorization: Bearer {SECRET}")),
        "{head}"
    );
    let visible = world
        .run("env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null; true")
        .await;
    assert!(
        visible.contains("MODELS_URL=http://127.0.0.1:") && !visible.contains(SECRET),
        "{visible}"
    );
    let lines = world.audit_lines();
    let is_decision = |line: &Value| line["egress"]["rule"] == "upstream models";
    assert!(lines.iter().any(is_decision), "{lines:?}");
    assert!(!format!("{lines:?}").contains(SECRET));
    world.finish().await;
}

async fn a_host_is_asked_by_its_own_name_with_a_secret_that_is_not_had() {
    let (origin, address, authority) = start_origin().await;
    let heads = origin.answer_with_text("hello");
    let host = format!("localhost:{}", address.port());
    let transform = HostTransform::new(&host)
        .unwrap()
        .authorities(authority.as_bytes())
        .unwrap()
        .placeholder("API_KEY", SECRET)
        .unwrap();
    let mut world = World::start_with(|config, dir| {
        config.egress = Some(Egress::none().allow(&address.to_string()).unwrap());
        config.transforms = vec![transform];
        config.audit = Some(dir.join("audit"));
    })
    .await;
    let text = description(&mut world, "command_run").await;
    for part in [
        format!("none +{address} +{host}."),
        format!(
            "need none of their own: {host} (what is in API_KEY stands for the key in headers)."
        ),
    ] {
        assert!(text.contains(&part), "{text}");
    }
    // A program that has the address built in. Those of this machine are not asked through a proxy otherwise.
    let ask = format!(
        "NO_PROXY= no_proxy= python3 -c \"
import os, urllib.request
headers = {{'Authorization': 'Bearer ' + os.environ['API_KEY']}}
request = urllib.request.Request('https://{host}/v1/chat', headers=headers)
print(urllib.request.urlopen(request, timeout=20).read().decode())
\""
    );
    assert_eq!(world.run(&ask).await, "hello\n");
    let head = heads.text();
    assert!(
        head.starts_with("GET /v1/chat ")
            && head.contains(&format!("authorization: Bearer {SECRET}")),
        "{head}"
    );
    let visible = world
        .run("env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null; true")
        .await;
    assert!(
        visible.contains("API_KEY=sbx-placeholder-") && !visible.contains(SECRET),
        "{visible}"
    );
    let lines = world.audit_lines();
    let rule = format!("allow {host} (with its transform)");
    let is_decision = |line: &Value| line["egress"]["rule"] == rule.as_str();
    assert!(lines.iter().any(is_decision), "{lines:?}");
    assert!(!format!("{lines:?}").contains(SECRET));
    world.finish().await;
}

/// A client of sandboxes with a network of their own, which cannot be created. The list gets whether each would have been kept
/// from the network.
fn networked_client(is_offline: &Arc<Mutex<Vec<bool>>>) -> Client {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend.expect_capabilities().returning(|| {
        let mut capabilities = Capabilities::default();
        capabilities.network = true;
        capabilities.network_isolation = true;
        capabilities
    });
    backend.expect_control_plane().returning(Vec::new);
    backend.expect_settle().returning(|| ());
    let created = Arc::clone(is_offline);
    backend.expect_create().returning(move |spec| {
        created.lock().unwrap().push(spec.is_offline);
        Err(Error::unsupported("a sandbox", "this test", "use another"))
    });
    let mut sessions = MockSessionSource::new();
    sessions.expect_settle().returning(|| ());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

async fn a_backend_with_a_network_keeps_sandboxes_from_it_unless_the_operator_says_so() {
    let is_offline = Arc::default();
    for (has_network, note) in [(false, true), (true, false)] {
        let mut config = McpConfig::default();
        config.backend_network = has_network;
        let mut world = World::start_on(networked_client(&is_offline), config).await;
        let text = description(&mut world, "command_run").await;
        assert_eq!(text.contains("no network"), note, "{text}");
        let failed = world.fail("command_run", json!({"command": "true"})).await;
        assert!(failed.contains("this test"), "{failed}");
        world.finish().await;
    }
    assert_eq!(*is_offline.lock().unwrap(), [true, false]);
}

async fn what_cannot_be_kept_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let refuse = |client: Client, configure: fn(&mut McpConfig)| {
        let mut config = McpConfig::default();
        configure(&mut config);
        McpServer::new(client, config).map(drop)
    };
    // It has this machine's network, and nothing can keep it from that.
    let open = || async {
        let mut settings = Settings::default();
        settings.local.state_dir = Some(dir.path().join("state"));
        settings.local.isolation = "none".to_owned();
        Client::from_settings(&settings).await.unwrap()
    };
    let refused = refuse(open().await, |_| {}).unwrap_err().to_string();
    assert!(refused.contains("--egress-backend"), "{refused}");
    refuse(open().await, |config| config.backend_network = true).unwrap();
    refuse(open().await, |config| config.unverified_egress = true).unwrap();

    let both = refuse(client_of(dir.path()).await, |config| {
        config.backend_network = true;
        config.egress = Some(Egress::none());
    });
    assert!(both.unwrap_err().to_string().contains("leave out"));
    let twice = refuse(client_of(dir.path()).await, |config| {
        let upstream = NamedUpstream::new("a", "https://a.example").unwrap();
        config.upstreams = vec![upstream.clone(), upstream];
    });
    assert!(twice.unwrap_err().to_string().contains("two of this name"));

    type Configure = fn(&mut McpConfig);
    let cases: [(Configure, &str); 5] = [
        (
            |config| config.egress = Some(Egress::internet()),
            "nearly every host",
        ),
        (
            |config| config.unverified_egress = true,
            "--egress-unverified",
        ),
        (|config| config.backend_network = true, "leave out"),
        (
            |config| config.transforms.push(transform()),
            "two for this host",
        ),
        (
            |config| {
                let upstream = NamedUpstream::new("a", "https://a.example").unwrap();
                config.upstreams = vec![upstream.key_variable("API_KEY").unwrap()];
            },
            "an upstream sets it already",
        ),
    ];
    for (configure, part) in cases {
        let mut config = McpConfig::default();
        config.transforms = vec![transform()];
        configure(&mut config);
        let refused = McpServer::new(client_of(dir.path()).await, config).map(drop);
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains(part), "{refused}");
        assert!(!refused.contains(SECRET), "{refused}");
    }
}

/// Authorities of this machine are not needed, and may be missing.
fn transform() -> HostTransform {
    let certified = rcgen::generate_simple_self_signed(["api.example".to_owned()]).unwrap();
    HostTransform::new("api.example")
        .unwrap()
        .authorities(certified.cert.pem().as_bytes())
        .unwrap()
        .placeholder("API_KEY", SECRET)
        .unwrap()
}
