//! The other programs that people install and fetch with: npm, cargo and git, each from a server that the rules allow.

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sandbox::{Output, Sandbox};
use sandbox_testkit::peers;
use sha2::{Digest, Sha256};

use crate::Outcome;
use crate::index::{Files, serve_https};
use crate::internet::Internet;
use crate::world::{World, create};

crate::cases![
    npm_installs_from_an_allowed_registry,
    cargo_builds_with_a_crate_of_an_allowed_registry,
    git_clones_over_https,
    git_clones_over_ssh,
];

/// Runs a program on this machine, in a directory.
fn run(directory: &Path, program: &str, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .output()?;
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// An archive with this directory in it.
fn archive(parent: &Path, name: &str, files: &[(&str, &str)]) -> Outcome<Vec<u8>> {
    for (file, content) in files {
        let path = parent.join(name).join(file);
        std::fs::create_dir_all(path.parent().expect("a directory"))?;
        std::fs::write(path, content)?;
    }
    run(parent, "tar", &["czf", "archive.tar.gz", name])?;
    Ok(std::fs::read(parent.join("archive.tar.gz"))?)
}

/// A sandbox that may reach `index.test`, where these files are, and not `other.test`.
async fn sandbox_with_index(world: &World, files: Files) -> Outcome<Sandbox> {
    let internet = Arc::new(Internet::default());
    let (index, certificate) = serve_https("index.test", files.clone()).await?;
    let (other, _) = serve_https("other.test", files).await?;
    internet.add("index.test", "93.184.216.34", 443, index);
    internet.add("other.test", "93.184.216.35", 443, other);
    let (sandbox, _) = create(world, &internet, "none +index.test").await?;
    sandbox.files().write("index.pem", certificate).await?;
    Ok(sandbox)
}

/// What a program has printed.
fn text(output: &Output) -> String {
    output.stdout_lossy() + &output.stderr_lossy()
}

async fn npm_installs_from_an_allowed_registry(world: Arc<World>) -> Outcome {
    let Some(npm) = &world.npm else {
        peers::skip("npm", "needs npm (apt-get install npm)");
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let package = r#"{"name": "demo-package", "version": "1.0.0"}"#;
    let files = [
        ("package.json", package),
        ("index.js", "module.exports = 42;"),
    ];
    let tarball = archive(scratch.path(), "package", &files)?;
    let registry = |host: &str| {
        format!(
            r#"{{"name": "demo-package", "dist-tags": {{"latest": "1.0.0"}}, "versions": {{"1.0.0": {{"name": "demo-package",
            "version": "1.0.0", "dist": {{"tarball": "https://{host}/demo-package.tgz"}}}}}}}}"#
        )
    };
    let sandbox = sandbox_with_index(
        &world,
        Files::from([
            ("/demo-package".to_owned(), registry("index.test").into()),
            ("/demo-package.tgz".to_owned(), tarball),
        ]),
    )
    .await?;
    let install = async |host: &str| {
        let output = sandbox
            .command(&npm.node)
            .arg(&npm.program)
            .args(["install", "--no-audit", "--no-fund", "--fetch-retries=0"])
            .arg(format!("--registry=https://{host}/"))
            .arg("demo-package")
            .env("npm_config_cafile", "index.pem")
            .env("npm_config_update_notifier", "false")
            .output()
            .await?;
        Outcome::Ok(output)
    };
    let refused = install("other.test").await?;
    assert!(
        !refused.status.success() && text(&refused).contains("403"),
        "{refused:?}"
    );
    let installed = install("index.test").await?;
    assert!(installed.status.success(), "{installed:?}");
    let used = sandbox
        .command(&npm.node)
        .args(["-p", "require('demo-package')"])
        .output()
        .await?;
    assert_eq!(used.stdout_lossy(), "42\n", "{used:?}");
    sandbox.delete().await?;
    Ok(())
}

async fn cargo_builds_with_a_crate_of_an_allowed_registry(world: Arc<World>) -> Outcome {
    let Some(toolchain) = &world.rust else {
        peers::skip("cargo", "needs cargo and rustc (https://rustup.rs)");
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let manifest = "[package]\nname = \"demo-package\"\nversion = \"1.0.0\"\nedition = \"2021\"\n";
    let files = [
        ("Cargo.toml", manifest),
        ("src/lib.rs", "pub const ANSWER: u32 = 42;"),
    ];
    let krate = archive(scratch.path(), "demo-package-1.0.0", &files)?;
    let checksum: String = Sha256::digest(&krate)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    // https://doc.rust-lang.org/cargo/reference/registry-index.html
    let entry = format!(
        r#"{{"name": "demo-package", "vers": "1.0.0", "deps": [], "cksum": "{checksum}", "features": {{}}, "yanked": false}}"#
    );
    let config = r#"{"dl": "https://index.test/crates/{crate}/{version}"}"#;
    let sandbox = sandbox_with_index(
        &world,
        Files::from([
            ("/config.json".to_owned(), config.into()),
            ("/de/mo/demo-package".to_owned(), entry.into()),
            ("/crates/demo-package/1.0.0".to_owned(), krate),
        ]),
    )
    .await?;
    let files = sandbox.files();
    files.create_dir_all("app/src").await?;
    files
        .write(
            "app/Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
             [dependencies]\ndemo-package = { version = \"1\", registry = \"test\" }\n",
        )
        .await?;
    files
        .write(
            "app/src/lib.rs",
            "const _: () = assert!(demo_package::ANSWER == 42);",
        )
        .await?;
    let check = async |host: &str| {
        let output = sandbox
            .command(toolchain.join("bin/cargo"))
            .args(["check", "--quiet"])
            .current_dir("app")
            .env("RUSTC", toolchain.join("bin/rustc").display().to_string())
            .env(
                "CARGO_REGISTRIES_TEST_INDEX",
                format!("sparse+https://{host}/"),
            )
            .env("CARGO_HTTP_CAINFO", "../index.pem")
            .env("CARGO_NET_RETRY", "0")
            .output()
            .await?;
        Outcome::Ok(output)
    };
    let refused = check("other.test").await?;
    assert!(
        !refused.status.success() && text(&refused).contains("403"),
        "{refused:?}"
    );
    let built = check("index.test").await?;
    assert!(built.status.success(), "{built:?}");
    sandbox.delete().await?;
    Ok(())
}

/// A bare repository with one commit, in `scratch/demo.git`.
fn new_repository(scratch: &Path) -> Outcome<PathBuf> {
    let work = scratch.join("work");
    std::fs::create_dir(&work)?;
    std::fs::write(work.join("answer"), "42\n")?;
    run(&work, "git", &["init", "-q", "-b", "main"])?;
    run(&work, "git", &["add", "answer"])?;
    let identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"];
    let commit = ["commit", "-q", "-m", "first"];
    run(&work, "git", &[&identity[..], &commit].concat())?;
    run(
        scratch,
        "git",
        &["clone", "-q", "--bare", "work", "demo.git"],
    )?;
    // What servers without git itself need ("dumb HTTP").
    let bare = scratch.join("demo.git");
    run(&bare, "git", &["update-server-info"])?;
    Ok(bare)
}

/// All files below a directory, by their path in it.
fn read_tree(root: &Path) -> Outcome<HashMap<String, Vec<u8>>> {
    let mut files = HashMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let name = path.strip_prefix(root)?.display().to_string();
                files.insert(name, std::fs::read(path)?);
            }
        }
    }
    Ok(files)
}

async fn git_clones_over_https(world: Arc<World>) -> Outcome {
    if !peers::GIT.is_available() {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let mut files = Files::new();
    for (name, content) in read_tree(&new_repository(scratch.path())?)? {
        if name == "info/refs" {
            let query = "/demo.git/info/refs?service=git-upload-pack";
            files.insert(query.to_owned(), content.clone());
        }
        files.insert(format!("/demo.git/{name}"), content);
    }
    let sandbox = sandbox_with_index(&world, files).await?;
    let clone = async |host: &str| {
        let output = sandbox
            .command("git")
            .args(["clone", "-q"])
            .arg(format!("https://{host}/demo.git"))
            .env("GIT_SSL_CAINFO", "index.pem")
            .env("GIT_TERMINAL_PROMPT", "0")
            .output()
            .await?;
        Outcome::Ok(output)
    };
    let refused = clone("other.test").await?;
    assert!(
        !refused.status.success() && text(&refused).contains("403"),
        "{refused:?}"
    );
    let cloned = clone("index.test").await?;
    assert!(cloned.status.success(), "{cloned:?}");
    assert_eq!(sandbox.files().read("demo/answer").await?, "42\n");
    sandbox.delete().await?;
    Ok(())
}

/// OpenSSH's server on loopback.
struct Sshd {
    child: Child,
    port: u16,
    _directory: tempfile::TempDir,
    /// The key that logs in, and the server's own key, for known_hosts.
    client_key: String,
    host_key: String,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Sshd {
    fn start() -> Outcome<Self> {
        let directory = tempfile::tempdir()?;
        let path = |name: &str| directory.path().join(name);
        for name in ["host", "client"] {
            let key = ["-q", "-t", "ed25519", "-N", "", "-f", name];
            run(directory.path(), "ssh-keygen", &key)?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n",
            path("host").display(),
            path("client.pub").display()
        );
        std::fs::write(path("config"), config)?;
        // It insists on its absolute path.
        let program = peers::find_program("sshd").ok_or("no sshd")?;
        // Its directory for privilege separation, where it runs as root.
        std::fs::create_dir_all("/run/sshd").ok();
        let child = Command::new(program)
            .args(["-D", "-e", "-f"])
            .arg(path("config"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self {
            child,
            port,
            client_key: std::fs::read_to_string(path("client"))?,
            host_key: std::fs::read_to_string(path("host.pub"))?,
            _directory: directory,
        };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("sshd does not listen".into())
    }
}

async fn git_clones_over_ssh(world: Arc<World>) -> Outcome {
    if !(peers::GIT.is_available()
        && peers::OPENSSH.is_available()
        && peers::OPENSSH_SERVER.is_available())
    {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let repository = new_repository(scratch.path())?;
    let server = Sshd::start()?;
    let place = ([127, 0, 0, 1], server.port).into();
    let internet = Arc::new(Internet::default());
    internet.add("git.test", "93.184.216.34", 22, place);
    internet.add("other.test", "93.184.216.35", 22, place);
    internet.add("literal.test", "93.184.216.36", 22, place);
    let rules = "none +git.test:22 +93.184.216.36/32:22";
    let (sandbox, _) = create(&world, &internet, rules).await?;
    let files = sandbox.files();
    files.create_dir_all(".ssh").await?;
    files
        .write(".ssh/id_ed25519", server.client_key.clone())
        .await?;
    let hosts = ["git.test", "other.test", "93.184.216.36"];
    let known: String = hosts
        .iter()
        .map(|host| format!("{host} {}", server.host_key))
        .collect();
    files.write(".ssh/known_hosts", known).await?;
    sandbox
        .shell("chmod 700 .ssh && chmod 600 .ssh/*")
        .output()
        .await?
        .check()?;
    let user = run(scratch.path(), "id", &["-un"])?;
    let clone = async |host: &str, directory: &str| {
        let output = sandbox
            .command("git")
            .args(["clone", "-q"])
            .arg(format!("{}@{host}:{}", user.trim(), repository.display()))
            .arg(directory)
            .timeout(Duration::from_secs(60))
            .output()
            .await?;
        Outcome::Ok(output)
    };
    // By its name, and by its address, which a rule about networks allows.
    for host in ["git.test", "93.184.216.36"] {
        let cloned = clone(host, host).await?;
        assert!(cloned.status.success(), "{cloned:?}");
        assert_eq!(files.read(format!("{host}/answer")).await?, "42\n");
    }
    let refused = clone("other.test", "other").await?;
    let said = text(&refused);
    assert!(!refused.status.success(), "{refused:?}");
    assert!(said.contains("--egress-allow other.test:22"), "{said}");
    sandbox.delete().await?;
    Ok(())
}
