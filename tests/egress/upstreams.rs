//! Upstreams with the programs that people use, and credentials that are nowhere in the sandbox.

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sandbox::{
    Dial, Egress, EgressEvent, NamedUpstream, Output, Resolve, Sandbox, SandboxBuilder, SandboxId,
    UpstreamKind,
};
use sandbox_testkit::https::{Answer, find_header, respond};
use sandbox_testkit::peers;

use crate::Outcome;
use crate::index::{Files, serve_files, serve_https_with};
use crate::internet::Internet;
use crate::leaks::{find_in_files, find_in_memory};
use crate::packages::wheel;
use crate::world::World;

crate::cases![
    a_client_of_a_model_needs_no_key_and_the_key_is_nowhere_inside,
    pip_installs_from_a_private_index,
    git_clones_from_a_private_server,
    npm_installs_from_a_private_registry,
    upstreams_are_those_of_whoever_serves_the_egress,
];

/// A secret that is in no file and no program.
fn new_secret() -> Outcome<String> {
    Ok(format!("sk-live-{}", SandboxId::generate()?))
}

/// Answers only requests with this value of `Authorization`.
fn guard(authorization: String, answer: Answer) -> Answer {
    Arc::new(move |head: &str, body: &[u8]| {
        if find_header(head, "authorization") == Some(&authorization) {
            return answer(head, body);
        }
        respond("401 Unauthorized", "text/plain", b"no credential")
    })
}

/// What HTTP Basic sends.
fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Puts a guarded server at a name of the internet. Returns the authority to trust.
async fn put(internet: &Internet, name: &str, answer: Answer) -> Outcome<String> {
    let (place, authority) = serve_https_with(name, answer).await?;
    internet.add(name, "93.184.216.34", 443, place);
    Ok(authority)
}

fn builder(world: &World, internet: &Arc<Internet>) -> SandboxBuilder {
    world.client.sandbox().egress_through(
        Arc::clone(internet) as Arc<dyn Resolve>,
        Arc::clone(internet) as Arc<dyn Dial>,
    )
}

async fn run(sandbox: &Sandbox, line: &str) -> Outcome<Output> {
    Ok(sandbox.shell(line).output().await?)
}

/// Asks a model as the SDKs do, with nothing but what Python has, and prints what streams in.
const ASK: &str = r#"
import json, os, urllib.request
request = urllib.request.Request(
    os.environ["OPENAI_BASE_URL"] + "/chat/completions",
    data=json.dumps({"model": "m", "stream": True, "messages": []}).encode(),
    headers={"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=20) as response:
    for line in response:
        if line.startswith(b"data: {"):
            print(json.loads(line[6:])["text"], end="")
    print("", response.headers["x-echo"])
"#;

async fn a_client_of_a_model_needs_no_key_and_the_key_is_nowhere_inside(
    world: Arc<World>,
) -> Outcome {
    let Some(python) = &world.python else {
        peers::skip("pip", "needs python3 (apt-get install python3-pip)");
        return Ok(());
    };
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let requests = Arc::clone(&seen);
    // It sends the credential back in a header, as badly configured servers do.
    let model: Answer = Arc::new(move |head: &str, body: &[u8]| {
        requests.lock().unwrap().push(head.to_owned());
        assert!(head.starts_with("POST /v1/chat/completions "), "{head}");
        assert!(String::from_utf8_lossy(body).contains("\"stream\": true"));
        let events = "data: {\"text\": \"He\"}\n\ndata: {\"text\": \"llo\"}\n\ndata: [DONE]\n\n";
        let echo = find_header(head, "authorization").unwrap_or_default();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Echo: {echo}\r\nContent-Length: {}\r\n\r\n",
            events.len()
        );
        (head + events).into_bytes()
    });
    let authority = put(&internet, "api.test", model).await?;
    let upstream = NamedUpstream::new("openai", "https://api.test/v1")?
        .authorities(authority.as_bytes())?
        .secret(secret.as_str())?;
    let events: Arc<Mutex<Vec<EgressEvent>>> = Arc::default();
    let decisions = Arc::clone(&events);
    let sandbox = builder(&world, &internet)
        .upstream(upstream)
        .on_egress(move |event| decisions.lock().unwrap().push(event.clone()))
        .create()
        .await?;
    let asked = sandbox
        .command(&python.program)
        .args(["-c", ASK])
        .output()
        .await?;
    assert_eq!(
        asked.stdout_lossy(),
        "Hello Bearer [redacted]\n",
        "{asked:?}"
    );
    let requests = seen.lock().unwrap().join("\n");
    let sent = format!("authorization: Bearer {secret}\r\n");
    assert_eq!(requests.matches(&sent).count(), 1, "{requests}");
    assert!(!requests.contains(NamedUpstream::PLACEHOLDER), "{requests}");

    // Nothing else is reached: rules are not needed, and there are none.
    let around = run(&sandbox, "curl -sS -m 20 https://api.test/v1/models 2>&1").await?;
    assert!(!around.status.success(), "{around:?}");

    // What a process inside can read of all processes there.
    let visible = "env; for one in /proc/[0-9]*; do cat $one/environ $one/cmdline; done 2>/dev/null; cat .sandbox/*";
    let visible = run(&sandbox, visible).await?.stdout_lossy();
    assert!(
        visible.contains("OPENAI_BASE_URL=http://127.0.0.1:")
            && visible.contains(NamedUpstream::PLACEHOLDER),
        "{visible}"
    );
    assert!(!visible.contains(&secret), "{visible}");
    // Its files and the memory of its processes, from outside.
    let sleeper = sandbox.shell("sleep 60").spawn().await?;
    let places = |text| [find_in_files(&world.state_dir, text), find_in_memory(text)];
    assert_eq!(places(&secret), [Vec::<String>::new(), Vec::new()]);
    // The same search finds what is there.
    let found = places(NamedUpstream::PLACEHOLDER);
    assert!(found.iter().all(|found| !found.is_empty()), "{found:?}");
    drop(sleeper);
    // It is in what the client knows, and shows nowhere.
    let shown = format!(
        "{:?} {:?} {sandbox:?}",
        events.lock().unwrap(),
        sandbox.egress()
    );
    assert!(
        shown.contains("upstream openai") && !shown.contains(&secret),
        "{shown}"
    );
    sandbox.delete().await?;
    Ok(())
}

async fn pip_installs_from_a_private_index(world: Arc<World>) -> Outcome {
    let Some(python) = &world.python else {
        peers::skip(
            "pip",
            "needs python3 with pip (apt-get install python3-pip)",
        );
        return Ok(());
    };
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    // The link has the address of the index in it, and the file is next to the index.
    let file = "demo_package-1.0-py3-none-any.whl";
    let page = format!("<a href=\"https://index.test/team/files/{file}\">{file}</a>");
    let files = Files::from([
        ("/team/simple/demo-package/".to_owned(), page.into_bytes()),
        (format!("/team/files/{file}"), wheel(python)?),
    ]);
    let answer = guard(basic("__token__", &secret), serve_files(files));
    let authority = put(&internet, "index.test", answer).await?;
    let index = NamedUpstream::new("pypi", "https://index.test/team/simple/")?
        .authorities(authority.as_bytes())?
        .secret(secret)?;
    let sandbox = builder(&world, &internet).upstream(index).create().await?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--target",
        "packages",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--retries",
        "0",
    ];
    let installed = sandbox
        .command(&python.program)
        .args(pip)
        .arg("demo-package")
        .output()
        .await?;
    assert!(installed.status.success(), "{installed:?}");
    python.use_demo_package(&sandbox).await?;
    sandbox.delete().await?;
    Ok(())
}

async fn git_clones_from_a_private_server(world: Arc<World>) -> Outcome {
    if !peers::GIT.is_available() {
        return Ok(());
    }
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let directory = tempfile::tempdir()?;
    let script = "set -e; git init -q -b main work; cd work; echo 42 > answer; git add answer; \
        git -c user.name=a -c user.email=a@a.test commit -q -m one; \
        git clone -q --bare . ../demo.git; cd ../demo.git; git update-server-info";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory.path())
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()?;
    assert!(made.status.success(), "{made:?}");
    let mut files = Files::new();
    let mut directories = vec![directory.path().join("demo.git")];
    while let Some(inner) = directories.pop() {
        for entry in fs::read_dir(inner)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(directory.path())?.display().to_string();
                files.insert(format!("/team/{name}"), fs::read(path)?);
            }
        }
    }
    let answer = guard(basic("x-access-token", &secret), serve_files(files));
    let authority = put(&internet, "git.test", answer).await?;
    let server = NamedUpstream::new("work", "https://git.test/team")?
        .kind(UpstreamKind::Git)
        .authorities(authority.as_bytes())?
        .secret(secret)?;
    let sandbox = builder(&world, &internet).upstream(server).create().await?;
    let cloned = run(
        &sandbox,
        "git clone -q https://git.test/team/demo.git && cat demo/answer",
    )
    .await?;
    assert_eq!(cloned.stdout_lossy(), "42\n", "{cloned:?}");
    // What is not below the upstream is asked for under its own name, which no rule allows.
    let other = run(
        &sandbox,
        "GIT_TERMINAL_PROMPT=0 git clone -q https://git.test/other/demo.git other 2>&1",
    )
    .await?;
    assert!(
        !other.status.success() && other.stdout_lossy().contains("403"),
        "{other:?}"
    );
    sandbox.delete().await?;
    Ok(())
}

async fn npm_installs_from_a_private_registry(world: Arc<World>) -> Outcome {
    let Some(npm) = &world.npm else {
        peers::skip("npm", "needs npm (apt-get install npm)");
        return Ok(());
    };
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let directory = tempfile::tempdir()?;
    let script = "set -e; mkdir package; echo 'exports.ANSWER = 42' > package/index.js; \
        echo '{\"name\": \"@team/demo\", \"version\": \"1.0.0\"}' > package/package.json; tar -czf demo.tgz package";
    let made = Command::new("sh")
        .args(["-c", script])
        .current_dir(directory.path())
        .output()?;
    assert!(made.status.success(), "{made:?}");
    let package = fs::read(directory.path().join("demo.tgz"))?;
    let registry: Answer = Arc::new(move |head: &str, _: &[u8]| {
        let path = head.split(' ').nth(1).unwrap_or_default();
        match path {
            // The name has an encoded slash in it, and the package is at the registry's own address.
            "/npm/@team%2fdemo" => respond(
                "200 OK",
                "application/json",
                br#"{"name": "@team/demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {"name": "@team/demo",
                    "version": "1.0.0", "dist": {"tarball": "https://registry.test/npm/@team/demo/-/demo-1.0.0.tgz"}}}}"#,
            ),
            "/npm/@team/demo/-/demo-1.0.0.tgz" => {
                respond("200 OK", "application/octet-stream", &package)
            }
            _ => respond("404 Not Found", "application/json", b"{}"),
        }
    });
    let answer = guard(format!("Bearer {secret}"), registry);
    let authority = put(&internet, "registry.test", answer).await?;
    let registry = NamedUpstream::new("npm", "https://registry.test/npm/")?
        .authorities(authority.as_bytes())?
        .secret(secret)?;
    let sandbox = builder(&world, &internet)
        .upstream(registry)
        .create()
        .await?;
    let installed = sandbox
        .command(&npm.node)
        .arg(&npm.program)
        .args([
            "install",
            "--no-audit",
            "--no-fund",
            "--no-update-notifier",
            "--fetch-retries=0",
        ])
        .arg("@team/demo")
        .output()
        .await?;
    assert!(installed.status.success(), "{installed:?}");
    let used = sandbox
        .command(&npm.node)
        .args(["-p", "require('@team/demo').ANSWER"])
        .output()
        .await?;
    assert_eq!(used.stdout_lossy(), "42\n", "{used:?}");
    sandbox.delete().await?;
    Ok(())
}

async fn upstreams_are_those_of_whoever_serves_the_egress(world: Arc<World>) -> Outcome {
    if peers::find_program("curl").is_none() {
        peers::skip("curl", "needs curl (apt-get install curl)");
        return Ok(());
    }
    let secret = new_secret()?;
    let internet = Arc::new(Internet::default());
    let files = Files::from([("/v1/hello".to_owned(), b"hello".to_vec())]);
    let answer = guard(format!("Bearer {secret}"), serve_files(files));
    let authority = put(&internet, "api.test", answer).await?;
    let api = NamedUpstream::new("api", "https://api.test/v1")?
        .authorities(authority.as_bytes())?
        .variable("API_URL")?
        .secret(secret)?;
    // It was created without any egress, and another handle serves it.
    let sandbox = world.client.sandbox().create().await?;
    let other = world.other.connect(sandbox.id()).await?;
    let serve = || {
        other.serve_egress(Egress::none()).through(
            Arc::clone(&internet) as Arc<dyn Resolve>,
            Arc::clone(&internet) as Arc<dyn Dial>,
        )
    };
    let get = "curl -sS -m 20 $API_URL/hello 2>&1";
    serve().upstream(api.clone()).await?;
    assert_eq!(run(&sandbox, get).await?.stdout_lossy(), "hello");
    // Rules are replaced without it, and can deny it.
    other.update_egress("none -api.test".parse()?)?;
    let denied = run(&sandbox, get).await?.stdout_lossy();
    assert!(denied.contains("(deny api.test)"), "{denied}");
    other.stop_egress();
    assert!(!run(&sandbox, get).await?.status.success());
    serve().await?;
    let gone = run(&sandbox, get).await?.stdout_lossy();
    assert!(gone.contains("this is a proxy"), "{gone}");
    // Two that exclude each other are refused.
    let refused = serve().upstream(api.clone()).upstream(api).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("two of this name")));
    sandbox.delete().await?;
    Ok(())
}
