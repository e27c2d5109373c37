//! Packages are installed from an index that the rules allow, and nothing else can be reached.

use std::process::Command;
use std::sync::Arc;

use sandbox::{EgressOutcome, ExecRequest, Output, Sandbox};
use sandbox_testkit::peers;

use crate::Outcome;
use crate::index::{Files, serve_http, serve_https};
use crate::internet::Internet;
use crate::world::{Python, World, create};

crate::cases![
    pip_installs_from_an_allowed_index_and_reaches_nothing_else,
    curl_is_refused_in_words,
];

/// Writes a wheel with one module.
const WHEEL: &str = r#"
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    wheel.writestr("demo_package.py", "ANSWER = 42\n")
    info = "demo_package-1.0.dist-info/"
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: demo-package\nVersion: 1.0\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "demo_package.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n")
"#;

/// Tries to leave without the proxy, in every way that Python has at hand. Prints what it reached.
const ESCAPE: &str = r#"
import socket, sys
index_port = int(sys.argv[1])
for family, address in [
    (socket.AF_INET, ("127.0.0.1", index_port)), (socket.AF_INET, ("93.184.216.34", 443)),
    (socket.AF_INET, ("169.254.169.254", 80)), (socket.AF_INET, ("10.0.0.1", 443)), (socket.AF_INET6, ("2606:4700::1", 443)),
]:
    for kind in [socket.SOCK_STREAM, socket.SOCK_DGRAM]:
        try:
            with socket.socket(family, kind) as one:
                one.settimeout(3)
                if kind == socket.SOCK_STREAM:
                    one.connect(address)
                elif address[0] != "127.0.0.1":
                    one.sendto(b"x", address)
                else:
                    continue
                print("reached", kind, address)
        except OSError:
            pass
try:
    print("resolved", socket.getaddrinfo("index.test", 443))
except OSError:
    pass
"#;

/// A package with one module.
pub(crate) fn wheel(python: &Python) -> Outcome<Vec<u8>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("demo_package-1.0-py3-none-any.whl");
    let status = Command::new(&python.program)
        .args(["-c", WHEEL])
        .arg(&path)
        .status()?;
    assert!(status.success());
    Ok(std::fs::read(path)?)
}

async fn pip(sandbox: &Sandbox, python: &Python, package: &str, index: &str) -> Outcome<Output> {
    let output = sandbox
        .command(&python.program)
        .args([
            "-m",
            "pip",
            "install",
            "--target",
            "packages",
            "--no-cache-dir",
            "--disable-pip-version-check",
        ])
        .args([
            "--retries",
            "1",
            "--timeout",
            "15",
            "--cert",
            "index.pem",
            "--index-url",
            index,
            package,
        ])
        .output()
        .await?;
    Ok(output)
}

async fn pip_installs_from_an_allowed_index_and_reaches_nothing_else(world: Arc<World>) -> Outcome {
    let Some(python) = &world.python else {
        peers::skip(
            "pip",
            "needs python3 with pip (apt-get install python3-pip)",
        );
        return Ok(());
    };
    let files = Files::from([
        (
            "/simple/demo-package/".to_owned(),
            b"<a href=\"/files/demo_package-1.0-py3-none-any.whl\">demo_package-1.0-py3-none-any.whl</a>".to_vec(),
        ),
        ("/files/demo_package-1.0-py3-none-any.whl".to_owned(), wheel(python)?),
    ]);
    let internet = Arc::new(Internet::default());
    let (index, certificate) = serve_https("index.test", files.clone()).await?;
    let (other, _) = serve_https("other.test", files).await?;
    internet.add("index.test", "93.184.216.34", 443, index);
    internet.add("other.test", "93.184.216.35", 443, other);
    internet.add("private.test", "10.0.0.1", 443, index);
    let (sandbox, decisions) = create(&world, &internet, "none +index.test +private.test").await?;
    sandbox.files().write("index.pem", certificate).await?;

    // The package is installed and works.
    let installed = pip(
        &sandbox,
        python,
        "demo-package",
        "https://index.test/simple/",
    )
    .await?;
    assert!(installed.status.success(), "{installed:?}");
    python.use_demo_package(&sandbox).await?;

    // Neither another name, nor a name with a private address, nor any way around the proxy leads anywhere.
    for host in ["other.test", "private.test", "pypi.org"] {
        let refused = pip(
            &sandbox,
            python,
            "other-package",
            &format!("https://{host}/simple/"),
        )
        .await?;
        assert!(!refused.status.success(), "{refused:?}");
        let text = refused.stderr_lossy() + &refused.stdout_lossy();
        assert!(text.contains("403") && text.contains(host), "{text}");
    }
    let escaped = sandbox
        .command(&python.program)
        .args(["-c", ESCAPE, &index.port().to_string()])
        .output()
        .await?;
    assert_eq!(
        (escaped.stdout_lossy().as_str(), escaped.status.success()),
        ("", true),
        "{escaped:?}"
    );

    // Every decision was reported.
    let decisions = decisions.lock().unwrap().clone();
    let has = |host: &str, outcome| {
        decisions
            .iter()
            .any(|one| one.host == host && one.outcome == outcome)
    };
    assert!(
        has("index.test", EgressOutcome::Opened) && has("index.test", EgressOutcome::Closed),
        "{decisions:?}"
    );
    for host in ["other.test", "private.test", "pypi.org"] {
        assert!(
            has(host, EgressOutcome::Refused) && !has(host, EgressOutcome::Opened),
            "{decisions:?}"
        );
    }
    sandbox.delete().await?;
    Ok(())
}

async fn curl_is_refused_in_words(world: Arc<World>) -> Outcome {
    if peers::find_program("curl").is_none() {
        peers::skip("curl", "needs curl (apt-get install curl)");
        return Ok(());
    }
    let internet = Arc::new(Internet::default());
    let files = Files::from([("/hello".to_owned(), b"hello".to_vec())]);
    let place = serve_http(files).await?;
    internet.add("web.test", "93.184.216.34", 80, place);
    let (sandbox, _) = create(&world, &internet, "none +web.test").await?;
    let curl = async |arguments: &[&str]| {
        let output = sandbox
            .command("curl")
            .args(["-s", "-m", "20"])
            .args(arguments)
            .output()
            .await?;
        Outcome::Ok(output.stdout_lossy() + &output.stderr_lossy())
    };
    assert_eq!(curl(&["http://web.test/hello"]).await?, "hello");
    let refused = curl(&["http://evil.test/"]).await?;
    assert!(refused.contains("--egress-allow evil.test:80"), "{refused}");
    // Through a tunnel, by SOCKS with the name and with an address, and with another Host.
    assert_eq!(curl(&["-p", "http://web.test/hello"]).await?, "hello");
    let port = sandbox
        .shell("echo ${HTTP_PROXY##*:}")
        .output()
        .await?
        .check()?
        .stdout_lossy();
    let socks = format!("socks5h://127.0.0.1:{}", port.trim());
    assert_eq!(
        curl(&["-x", &socks, "http://web.test/hello"]).await?,
        "hello"
    );
    assert_ne!(
        curl(&["-x", &socks, "http://93.184.216.34/hello"]).await?,
        "hello"
    );
    let fronted = curl(&["-H", "Host: evil.test", "http://web.test/hello"]).await?;
    assert!(fronted.contains("disagree"), "{fronted}");

    // The variables reach jobs, shared processes and other clients, too.
    let other = world.other.connect(sandbox.id()).await?;
    let request = ExecRequest::from_shell("env | grep -i _proxy= | sort");
    let seen = other
        .session()
        .output(request, 1 << 16)
        .await?
        .check()?
        .stdout_lossy();
    for name in [
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "NO_PROXY",
        "no_proxy",
    ] {
        assert!(seen.contains(&format!("{name}=")), "{seen}");
    }
    sandbox.delete().await?;
    Ok(())
}
