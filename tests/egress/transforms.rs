//! Hosts with a transform, with programs that have their addresses built in.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::{
    Dial, Egress, EgressEvent, HostTransform, Output, Resolve, Sandbox, SandboxBuilder, SandboxId,
};
use sandbox_testkit::https::{Answer, find_header, respond};
use sandbox_testkit::peers;

use crate::Outcome;
use crate::index::{Files, serve_http, serve_https, serve_https_with};
use crate::internet::Internet;
use crate::leaks::{find_in_files, find_in_memory};
use crate::world::World;

crate::cases![
    git_reads_with_a_credential_that_it_does_not_have,
    programs_use_a_secret_that_is_nowhere_inside,
    transforms_are_those_of_whoever_serves_the_egress,
    rules_that_allow_every_host_exclude_transforms,
];

/// Asks with nothing but what Python has, once with the placeholder in the header and once in Basic.
const ASK: &str = r#"
import base64, os, urllib.request
key = os.environ["API_KEY"]
for value in ["Bearer " + key, "Basic " + base64.b64encode(("user:" + key).encode()).decode()]:
    request = urllib.request.Request("https://api.test/v1/models", headers={"Authorization": value})
    with urllib.request.urlopen(request, timeout=20) as response:
        print(response.read().decode(), response.headers["x-echo"])
"#;

/// Insists on HTTP/2, and prints how that ends.
const INSIST: &str = r#"
import os, socket, ssl
proxy = socket.create_connection(("127.0.0.1", int(os.environ["HTTPS_PROXY"].rsplit(":", 1)[1])), 20)
proxy.sendall(b"CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n")
proxy.recv(4096)
context = ssl.create_default_context()
context.set_alpn_protocols(["h2"])
try:
    context.wrap_socket(proxy, server_hostname="api.test")
except OSError as error:
    print(error)
"#;

fn has_curl() -> bool {
    peers::find_program("curl").is_some()
        || peers::skip("curl", "needs curl (apt-get install curl)")
}

fn builder(world: &World, internet: &Arc<Internet>) -> SandboxBuilder {
    world.client.sandbox().egress_through(
        Arc::clone(internet) as Arc<dyn Resolve>,
        Arc::clone(internet) as Arc<dyn Dial>,
    )
}

/// A secret that is in no file and no program.
fn new_secret() -> Outcome<String> {
    Ok(format!("sk-live-{}", SandboxId::generate()?))
}

/// Answers "right" to requests that have the secret, as Bearer or in Basic, and sends it back in a header.
fn guard(secret: &str) -> Answer {
    let basic = STANDARD.encode(format!("user:{secret}"));
    let accepted = [format!("Bearer {secret}"), format!("Basic {basic}")];
    Arc::new(move |head: &str, _: &[u8]| {
        let sent = find_header(head, "authorization").unwrap_or_default();
        if !accepted.iter().any(|one| one == sent) {
            return respond("401 Unauthorized", "text/plain", b"no credential");
        }
        format!("HTTP/1.1 200 OK\r\nX-Echo: {sent}\r\nContent-Length: 5\r\n\r\nright").into_bytes()
    })
}

/// Puts a server at `api.test`. Returns its transform.
async fn put_api(internet: &Internet, secret: &str) -> Outcome<HostTransform> {
    let (place, authority) = serve_https_with("api.test", guard(secret)).await?;
    internet.add("api.test", "93.184.216.34", 443, place);
    let transform = HostTransform::new("api.test")?.authorities(authority.as_bytes())?;
    Ok(transform.placeholder("API_KEY", secret)?)
}

async fn run(sandbox: &Sandbox, line: &str) -> Outcome<Output> {
    Ok(sandbox.shell(line).output().await?)
}

const CURL: &str =
    r#"curl -sS -m 20 -H "Authorization: Bearer $API_KEY" https://api.test/v1/models 2>&1"#;

async fn programs_use_a_secret_that_is_nowhere_inside(world: Arc<World>) -> Outcome {
    let Some(python) = world.python.as_ref().filter(|_| has_curl()) else {
        return Ok(());
    };
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let transform = put_api(&internet, &secret).await?;
    // Hosts without one.
    let files = || Files::from([("/hello".to_owned(), b"hello".to_vec())]);
    internet.add("web.test", "93.184.216.35", 80, serve_http(files()).await?);
    let (place, other_authority) = serve_https("other.test", files()).await?;
    internet.add("other.test", "93.184.216.36", 443, place);
    let events: Arc<Mutex<Vec<EgressEvent>>> = Arc::default();
    let decisions = Arc::clone(&events);
    let sandbox = builder(&world, &internet)
        .egress("none +web.test +other.test".parse()?)
        .host_transform(transform)
        .env("PIP_CERT", "own")
        .on_egress(move |event| decisions.lock().unwrap().push(event.clone()))
        .create()
        .await?;
    assert_eq!(run(&sandbox, CURL).await?.stdout_lossy(), "right");
    let asked = sandbox
        .command(&python.program)
        .args(["-c", ASK])
        .output()
        .await?;
    assert_eq!(
        asked.stdout_lossy(),
        "right Bearer [redacted]\nright Basic [redacted]\n",
        "{asked:?}"
    );
    let insisting = sandbox
        .command(&python.program)
        .args(["-c", INSIST])
        .output()
        .await?;
    let alert = insisting.stdout_lossy();
    assert!(
        alert.contains("alert no application protocol"),
        "{insisting:?}"
    );
    // Another host keeps its own certificate, and its bytes.
    sandbox.files().write("other.pem", other_authority).await?;
    let other = "curl -sS -m 20 --cacert other.pem https://other.test/hello 2>&1";
    assert_eq!(run(&sandbox, other).await?.stdout_lossy(), "hello");
    // What is inside is worth nothing elsewhere.
    let elsewhere = r#"curl -sS -m 20 -H "X-Any: $API_KEY" http://web.test/hello 2>&1"#;
    let elsewhere = run(&sandbox, elsewhere).await?.stdout_lossy();
    assert!(
        elsewhere.contains("the placeholder in API_KEY is only for api.test:443"),
        "{elsewhere}"
    );

    // Variables name what is there; those of the caller are stronger.
    let named = run(
        &sandbox,
        r#"echo $PIP_CERT; grep -c BEGIN "$NODE_EXTRA_CA_CERTS"; grep -l BEGIN "$SSL_CERT_FILE" "$GIT_SSL_CAINFO"; grep -r PRIVATE .sandbox"#,
    )
    .await?;
    let home = sandbox.session().canonicalize(&".".into()).await?;
    let bundle = format!("{home}/.sandbox/egress-bundle.pem\n").repeat(2);
    assert_eq!(
        named.stdout_lossy(),
        format!("own\n1\n{bundle}"),
        "{named:?}"
    );

    // What a process inside can read of all processes there.
    let visible = "env; for one in /proc/[0-9]*; do cat $one/environ $one/cmdline; done 2>/dev/null; cat .sandbox/*";
    let visible = run(&sandbox, visible).await?.stdout_lossy();
    assert!(visible.contains("API_KEY=sbx-placeholder-"), "{visible}");
    assert!(!visible.contains(&secret), "{visible}");
    // Its files and the memory of its processes, from outside.
    let sleeper = sandbox.shell("sleep 60").spawn().await?;
    let places = |text| [find_in_files(&world.state_dir, text), find_in_memory(text)];
    assert_eq!(places(&secret), [Vec::<String>::new(), Vec::new()]);
    // The same search finds what is there.
    let found = places("sbx-placeholder-");
    assert!(found.iter().all(|found| !found.is_empty()), "{found:?}");
    drop(sleeper);
    let shown = format!(
        "{:?} {sandbox:?} {:?}",
        events.lock().unwrap(),
        sandbox.egress()
    );
    assert!(
        shown.contains("allow api.test:443 (with its transform)") && !shown.contains(&secret),
        "{shown}"
    );
    sandbox.delete().await?;
    Ok(())
}

/// git and its library for TLS (GnuTLS on Debian) accept the authority, with its constraints.
async fn git_reads_with_a_credential_that_it_does_not_have(world: Arc<World>) -> Outcome {
    if !peers::GIT.is_available() {
        return Ok(());
    }
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let basic = STANDARD.encode(format!("x-access-token:{secret}"));
    let answer: Answer = Arc::new(move |head: &str, _: &[u8]| {
        let is_right = find_header(head, "authorization") == Some(&format!("Basic {basic}"));
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path.split('?').next() {
            Some("/team/demo.git/info/refs") if is_right => {
                let refs = format!("{}\trefs/heads/main\n", "ab".repeat(20));
                respond("200 OK", "text/plain", refs.as_bytes())
            }
            Some("/team/demo.git/HEAD") if is_right => {
                respond("200 OK", "text/plain", b"ref: refs/heads/main\n")
            }
            _ => respond("403 Forbidden", "text/plain", b"no"),
        }
    });
    let (place, authority) = serve_https_with("git.test", answer).await?;
    internet.add("git.test", "93.184.216.34", 443, place);
    let transform = HostTransform::new("git.test")?
        .authorities(authority.as_bytes())?
        .basic("x-access-token", secret)?;
    let sandbox = builder(&world, &internet)
        .host_transform(transform)
        .create()
        .await?;
    let listed = run(
        &sandbox,
        "git ls-remote https://git.test/team/demo.git 2>&1",
    )
    .await?;
    assert!(
        listed.stdout_lossy().contains("refs/heads/main"),
        "{listed:?}"
    );
    sandbox.delete().await?;
    Ok(())
}

async fn transforms_are_those_of_whoever_serves_the_egress(world: Arc<World>) -> Outcome {
    if !has_curl() {
        return Ok(());
    }
    let internet = Arc::new(Internet::default());
    let first = put_api(&internet, &new_secret()?).await?;
    let sandbox = builder(&world, &internet)
        .host_transform(first)
        .create()
        .await?;
    let before = run(&sandbox, "echo $API_KEY; cat .sandbox/egress-ca.pem").await?;
    assert_eq!(run(&sandbox, CURL).await?.stdout_lossy(), "right");
    // The same handle serves another secret: commands get another placeholder and another authority.
    let second = put_api(&internet, &new_secret()?).await?;
    let serve = |handle: &Sandbox| {
        handle.serve_egress(Egress::none()).through(
            Arc::clone(&internet) as Arc<dyn Resolve>,
            Arc::clone(&internet) as Arc<dyn Dial>,
        )
    };
    serve(&sandbox).host_transform(second).await?;
    let after = run(&sandbox, "echo $API_KEY; cat .sandbox/egress-ca.pem").await?;
    assert_ne!(before.stdout_lossy(), after.stdout_lossy());
    assert_eq!(run(&sandbox, CURL).await?.stdout_lossy(), "right");
    // So does a handle that did not create it.
    sandbox.stop_egress();
    let other = world.other.connect(sandbox.id()).await?;
    let third = put_api(&internet, &new_secret()?).await?;
    serve(&other).host_transform(third).await?;
    assert_eq!(run(&other, CURL).await?.stdout_lossy(), "right");
    // A rule was added for the host, and rules that are replaced need one, too.
    assert_eq!(other.egress(), Some("none +api.test:443".parse()?));
    other.update_egress(Egress::none())?;
    let refused = run(&other, CURL).await?.stdout_lossy();
    assert!(refused.contains("403"), "{refused}");
    sandbox.delete().await?;
    Ok(())
}

async fn rules_that_allow_every_host_exclude_transforms(world: Arc<World>) -> Outcome {
    let internet = Arc::new(Internet::default());
    let transform = put_api(&internet, "secret").await?;
    for rules in [Egress::internet(), Egress::open()] {
        let refused = builder(&world, &internet)
            .egress(rules.clone())
            .host_transform(transform.clone())
            .create()
            .await;
        let error = refused.unwrap_err().to_string();
        assert!(
            error.contains("lets the sandbox reach nearly every host"),
            "{error}"
        );
        let sandbox = builder(&world, &internet)
            .host_transform(transform.clone())
            .create()
            .await?;
        assert!(sandbox.update_egress(rules).is_err());
        sandbox.delete().await?;
    }
    let unverified = builder(&world, &internet)
        .host_transform(transform)
        .unverified_egress()
        .create()
        .await;
    let error = unverified.unwrap_err().to_string();
    assert!(error.contains("the transform of api.test:443"), "{error}");
    Ok(())
}
