//! Egress rules on a cluster that enforces network policies: what they allow is reached, and nothing else.
//!
//! Where the network plugin enforces none, `tests/policies/enforce` does. Without either, the cases are skipped with a
//! message, or fail if `SANDBOX_TEST_REQUIRE` lists `enforced-policies`. The servers are on this machine, behind names and
//! addresses of the tests' own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::DeleteParams;
use sandbox::{
    Client, Dial, Egress, HostTransform, NamedUpstream, OnEmpty, Resolve, Sandbox, SandboxBuilder,
    SandboxId,
};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_testkit::https::{Answer, find_header, respond};
use sandbox_testkit::peers;
use serde_json::Value;

use crate::cluster::{KUBECONFIG, api, client_for, connect, defaults, options};
use crate::command::CommandRunner;
use crate::deploy_manifests::{self, CLIENT};
use crate::egress::{admin, is_enforced};
use crate::image_sshd;
use crate::index::{Files, serve_http, serve_https_with};
use crate::internet::Internet;

cases![
    programs_use_secrets_that_stay_outside,
    nothing_is_reached_but_what_rules_allow,
    a_sandbox_that_gets_rules_loses_its_network,
    without_who_serves_it_a_sandbox_is_offline,
    a_pool_hands_out_what_reaches_nothing,
    a_shared_pool_hands_out_what_reaches_nothing,
    the_permissions_of_deploy_are_enough,
    doctor_reports_that_rules_are_enforced,
];

const RULES: &str = "none +web.test";
const POOL: &str = "offline";

/// Uses what Python has in a small image: a host with a transform through the proxy, over TLS, and a named upstream.
const ASK: &str = r#"
import os, socket, ssl
def connect(url):
    return socket.create_connection(("127.0.0.1", int(url.split("/")[2].rsplit(":", 1)[1])), 20)
def ask(connection, host, path, key):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Authorization: Bearer {key}", "Connection: close", "", ""]
    connection.sendall("\r\n".join(lines).encode())
    answer = b""
    while piece := connection.recv(4096):
        answer += piece
    print(answer.decode())
tunnel = connect(os.environ["HTTPS_PROXY"])
tunnel.sendall(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
head = tunnel.recv(4096)
assert b" 200 " in head, head
secure = ssl.create_default_context().wrap_socket(tunnel, server_hostname="api.test", suppress_ragged_eofs=False)
ask(secure, "api.test", "/v1", os.environ["API_KEY"])
url = os.environ["OPENAI_BASE_URL"]
ask(connect(url), url.split("/")[2], "/" + url.split("/", 3)[3] + "/models", os.environ["OPENAI_API_KEY"])
"#;

async fn programs_use_secrets_that_stay_outside(_: TestedBackend) -> Outcome {
    if !image_sshd::has_image() || !can_try().await? {
        return Ok(());
    }
    let (client, server) = (new_client().await?, api_server().await?);
    let internet = Arc::new(Internet::default());
    let secrets = [SandboxId::generate()?, SandboxId::generate()?].map(|id| id.to_string());
    let authority = put(&internet, "api.test", "93.184.216.34", &secrets[0]).await?;
    let transform = HostTransform::new("api.test")?
        .authorities(authority.as_bytes())?
        .placeholder("API_KEY", secrets[0].as_str())?;
    let authority = put(&internet, "models.test", "93.184.216.35", &secrets[1]).await?;
    let upstream = NamedUpstream::new("openai", "https://models.test/v1")?
        .authorities(authority.as_bytes())?
        .secret(secrets[1].as_str())?;
    let sandbox = through(client.sandbox(), &internet)
        .image(image_sshd::image())
        .host_transform(transform)
        .upstream(upstream)
        .create()
        .await?;
    let asked = sandbox
        .command("python3")
        .args(["-c", ASK])
        .output()
        .await?;
    let answers = asked.stdout_lossy();
    assert_eq!(
        (
            answers.matches("Bearer [redacted]").count(),
            answers.matches("right").count()
        ),
        (2, 2),
        "{asked:?}"
    );
    let visible = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline .sandbox/* 2>/dev/null";
    let visible = run(&sandbox, visible).await?;
    assert!(visible.contains("API_KEY=sbx-placeholder-"), "{visible}");
    let everything = visible + &answers;
    assert!(
        secrets.iter().all(|secret| !everything.contains(secret)),
        "{everything}"
    );
    // Bash connects by itself, past the proxy.
    let bash = |place: &str| {
        let path = place.replace(' ', "/");
        format!("timeout 2 bash -c ': < /dev/tcp/{path}' && echo reached")
    };
    assert_eq!(run(&sandbox, &bash("127.0.0.1 2222")).await?, "reached\n");
    assert_eq!(run(&sandbox, &bash(&server)).await?, "");
    Ok(sandbox.delete().await?)
}

async fn nothing_is_reached_but_what_rules_allow(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    let (client, server) = (new_client().await?, api_server().await?);
    let (internet, rules) = (web().await?, RULES.parse::<Egress>()?);
    let (sandbox, other) = tokio::try_join!(
        through(client.sandbox().egress(rules), &internet).create(),
        client.sandbox().create(),
    )?;
    assert_eq!(ask_web(&sandbox).await?, "hello");
    let refused = run(&sandbox, "wget -q -O - http://other.test/ 2>&1").await?;
    assert!(refused.contains("403"), "{refused}");
    // A program finds what is there.
    assert!(reaches(&sandbox, "127.0.0.1 2222").await?);
    let other_address = other.refresh().await?.address.ok_or("no address")?;
    let node = server.split(' ').next().unwrap_or_default();
    for place in [
        server.clone(),
        format!("{node} 10250"),
        format!("{other_address} 2222"),
        "169.254.169.254 80".to_owned(),
    ] {
        assert!(!reaches(&sandbox, &place).await?, "{place}");
    }
    // Rules that allow nothing are no other network.
    sandbox.update_egress(Egress::none())?;
    assert!(ask_web(&sandbox).await?.contains("403"));
    tokio::try_join!(sandbox.delete(), other.delete())?;
    Ok(())
}

/// Without rules it has what `deploy/network-policy.yaml` leaves it, and more without that.
async fn a_sandbox_that_gets_rules_loses_its_network(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    deploy_manifests::with_namespace(true, async |api, name| {
        let (client, server) = (client_in(&name).await?, api_server().await?);
        let sandbox = client.sandbox().create().await?;
        // Policies take effect late.
        wait_until(&sandbox, &server, false).await?;
        let policies: Api<NetworkPolicy> = Api::namespaced(api, &name);
        let of_deploy = "sandbox-internet";
        policies.delete(of_deploy, &DeleteParams::default()).await?;
        wait_until(&sandbox, &server, true).await?;

        let internet = web().await?;
        serve(&sandbox, &internet).await?;
        assert!(!reaches(&sandbox, &server).await?);
        assert_eq!(ask_web(&sandbox).await?, "hello");
        Ok(())
    })
    .await
}

async fn without_who_serves_it_a_sandbox_is_offline(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    let internet = web().await?;
    let (creator, server) = (new_client().await?, api_server().await?);
    let builder = creator.sandbox().egress(RULES.parse()?).detached();
    let created = through(builder, &internet)
        .ttl(Duration::from_secs(600))
        .create()
        .await?;
    assert_eq!(ask_web(&created).await?, "hello");
    let client = new_client().await?;
    let sandbox = client.connect(created.id()).await?;
    drop((created, creator));
    // The proxy closes in the background.
    while ask_web(&sandbox).await? == "hello" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!reaches(&sandbox, &server).await?);
    serve(&sandbox, &internet).await?;
    assert_eq!(ask_web(&sandbox).await?, "hello");
    sandbox.stop_egress();
    while ask_web(&sandbox).await? == "hello" {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(sandbox.delete().await?)
}

async fn a_pool_hands_out_what_reaches_nothing(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    let (client, server) = (new_client().await?, api_server().await?);
    let internet = web().await?;
    let sandboxes = through(client.sandbox().egress(RULES.parse()?), &internet);
    let pool = client.pool(sandboxes).size(2).on_empty(OnEmpty::Fail);
    let pool = pool.start()?;
    pool.filled().await;
    // Other labels may be selected by other policies, so that it is proved again.
    let (plain, labelled) = tokio::try_join!(pool.take(), pool.take().label("team", "ml"))?;
    for sandbox in [&plain, &labelled] {
        assert!(!reaches(sandbox, &server).await?);
        assert_eq!(ask_web(sandbox).await?, "hello");
    }
    pool.close().await?;
    tokio::try_join!(plain.delete(), labelled.delete())?;
    Ok(())
}

async fn a_shared_pool_hands_out_what_reaches_nothing(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    deploy_manifests::with_namespace(true, async |_, name| {
        let (filler, server) = (client_in(&name).await?, api_server().await?);
        let sandboxes = filler.sandbox().egress(Egress::none());
        let pool = filler.shared_pool(POOL, sandboxes).size(1).start().await?;
        pool.filled().await;
        let claimer = client_in(&name).await?;
        let internet = web().await?;
        let claim = claimer.sandbox().egress(RULES.parse()?);
        let claim = through(claim, &internet).from_pool(POOL);
        let sandbox = claim.on_empty(OnEmpty::Fail).create().await?;
        assert!(!reaches(&sandbox, &server).await?);
        assert_eq!(ask_web(&sandbox).await?, "hello");
        pool.stop().await;
        Ok(())
    })
    .await
}

/// Those of the account that creates sandboxes, with `deploy/egress-proof.yaml` for clients outside of the cluster.
async fn the_permissions_of_deploy_are_enough(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    deploy_manifests::with_namespace(true, async |api, name| {
        let kubeconfig = deploy_manifests::account_kubeconfig(&api, &name, CLIENT).await?;
        let mut of_namespace = options();
        of_namespace.namespace = Some(name.clone());
        let restricted = connect(Some(&kubeconfig), None).await?;
        let backend = sandbox_k8s::KubernetesBackend::new(restricted, of_namespace);
        let client = client_for(backend, defaults());
        // Its subject is in the namespace `sandboxes`, and other runs have others.
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/egress-proof.yaml");
        let own = format!("sandbox-egress-proof-{name}");
        let proof = std::fs::read_to_string(file)?
            .replace("name: sandbox-egress-proof\n", &format!("name: {own}\n"))
            .replace("namespace: sandboxes\n", &format!("namespace: {name}\n"));
        deploy_manifests::apply(&proof)?;
        let created = client.sandbox().egress(Egress::none()).create().await;
        deploy_manifests::delete(&proof)?;
        created?.delete().await?;
        Ok(())
    })
    .await
}

async fn doctor_reports_that_rules_are_enforced(_: TestedBackend) -> Outcome {
    if !can_try().await? {
        return Ok(());
    }
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    let mut command = runner.command(runner.program());
    command.env("SANDBOX_KUBECONFIG", std::env::var(KUBECONFIG)?);
    let output = command.args(["doctor", "--try", "-o", "json"]).output();
    let output = output.await?;
    let checks: Vec<BTreeMap<String, Value>> = serde_json::from_slice(&output.stdout)?;
    let found = checks
        .iter()
        .find(|check| check["name"] == "egress rules")
        .ok_or_else(|| format!("{output:?}"))?;
    assert_eq!(found["verdict"], "passed", "{found:?}");
    let detail = found["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("enforced: "), "{detail}");
    Ok(())
}

/// Whether the cluster enforces policies, or something does in its place.
async fn can_try() -> Outcome<bool> {
    Ok(is_enforced().await?
        || peers::skip(
            "enforced-policies",
            "needs a cluster that enforces network policies",
        ))
}

/// A client that shares nothing with others, with the rights of an administrator.
async fn new_client() -> Outcome<Client> {
    Ok(admin(options()).await?.0)
}

/// The same for another namespace.
async fn client_in(namespace: &str) -> Outcome<Client> {
    let mut options = options();
    options.namespace = Some(namespace.to_owned());
    Ok(admin(options).await?.0)
}

/// The host and port at which Pods reach the API server, if nothing keeps them from it.
async fn api_server() -> Outcome<String> {
    let all: Api<Endpoints> = Api::namespaced(api().await?, "default");
    let subsets = all.get("kubernetes").await?.subsets.unwrap_or_default();
    let subset = subsets.into_iter().next().unwrap_or_default();
    let address = subset.addresses.unwrap_or_default().into_iter().next();
    let port = subset.ports.unwrap_or_default().into_iter().next();
    let (address, port) = address.zip(port).ok_or("the API server has no address")?;
    Ok(format!("{} {}", address.ip, port.port))
}

/// An internet with one page.
async fn web() -> Outcome<Arc<Internet>> {
    let internet = Arc::new(Internet::default());
    let files = Files::from([("/hello".to_owned(), b"hello".to_vec())]);
    internet.add("web.test", "93.184.216.36", 80, serve_http(files).await?);
    Ok(internet)
}

/// Puts a server at a name, which answers who has the secret, and sends it back in a header. Returns the authority to trust.
async fn put(internet: &Internet, name: &str, address: &str, secret: &str) -> Outcome<String> {
    let expected = format!("Bearer {secret}");
    let answer: Answer = Arc::new(move |head: &str, _: &[u8]| {
        let sent = find_header(head, "authorization").unwrap_or_default();
        if sent != expected {
            return respond("401 Unauthorized", "text/plain", b"no credential");
        }
        format!("HTTP/1.1 200 OK\r\nX-Echo: {sent}\r\nContent-Length: 5\r\n\r\nright").into_bytes()
    });
    let (place, authority) = serve_https_with(name, answer).await?;
    internet.add(name, address, 443, place);
    Ok(authority)
}

fn through(builder: SandboxBuilder, internet: &Arc<Internet>) -> SandboxBuilder {
    builder.egress_through(
        Arc::clone(internet) as Arc<dyn Resolve>,
        Arc::clone(internet) as Arc<dyn Dial>,
    )
}

async fn serve(sandbox: &Sandbox, internet: &Arc<Internet>) -> Outcome {
    let serving = sandbox.serve_egress(RULES.parse()?).through(
        Arc::clone(internet) as Arc<dyn Resolve>,
        Arc::clone(internet) as Arc<dyn Dial>,
    );
    Ok(serving.await?)
}

async fn run(sandbox: &Sandbox, line: &str) -> Outcome<String> {
    Ok(sandbox.shell(line).output().await?.stdout_lossy())
}

/// What the page says that rules allow, or why it cannot be had.
async fn ask_web(sandbox: &Sandbox) -> Outcome<String> {
    run(sandbox, "wget -q -O - http://web.test/hello 2>&1").await
}

/// Whether a program in the sandbox can connect there by itself.
async fn reaches(sandbox: &Sandbox, place: &str) -> Outcome<bool> {
    let line = format!("nc -w 2 {place} < /dev/null > /dev/null 2>&1 && echo reached");
    Ok(run(sandbox, &line).await? == "reached\n")
}

async fn wait_until(sandbox: &Sandbox, place: &str, is_reached: bool) -> Outcome {
    while reaches(sandbox, place).await? != is_reached {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}
