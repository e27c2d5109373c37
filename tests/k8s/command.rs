//! The command `sandbox` on a cluster, as a person uses it, with no more rights than `deploy/` gives:
//! `SANDBOX_TEST_COMMAND` is the program.

use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::Transport;
use sandbox_testkit::peers;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::cluster::{image, kubeconfig, namespace, options};

cases![
    a_life_at_a_terminal,
    openssh_through_the_api_server,
    doctor_finds_nothing
];

const COMMAND: &str = "SANDBOX_TEST_COMMAND";
/// Of all that are made here.
const OURS: &str = "made-by=the-command";
/// No step of a test takes nearly as long.
const LONG: Duration = Duration::from_secs(180);

/// Where a command is run: with a home of its own, and no settings but those of the test.
struct Place {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl Place {
    fn new() -> Outcome<Option<Self>> {
        let Some(program) = std::env::var_os(COMMAND) else {
            peers::skip("command", &format!("needs the built command ({COMMAND})"));
            return Ok(None);
        };
        Ok(Some(Self {
            program: program.into(),
            home: tempfile::tempdir()?,
        }))
    }

    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let options = options();
        let transport = match options.transport {
            Transport::Direct => "direct",
            Transport::PortForward => "port-forward",
            _ => "auto",
        };
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
            .env("HOME", self.home.path())
            .env("SANDBOX_BACKEND", "k8s");
        command
            .env("SANDBOX_KUBECONFIG", kubeconfig())
            .env("SANDBOX_NAMESPACE", namespace());
        command
            .env("SANDBOX_IMAGE", image())
            .env("SANDBOX_IMAGE_PULL_POLICY", "IfNotPresent");
        command.env(
            "SANDBOX_SERVER_IMAGE",
            options.server_image.unwrap_or_default(),
        );
        command
            .env("SANDBOX_TRANSPORT", transport)
            .current_dir(self.home.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs it to its end, whatever that is.
    async fn ended(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Outcome<Output> {
        Ok(tokio::time::timeout(LONG, self.command(program).args(args).output()).await??)
    }

    /// The output of a program that has to succeed.
    async fn output(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Outcome<String> {
        let output = self.ended(program, args).await?;
        let (said, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        match output.status.success() {
            true => Ok(said.into_owned()),
            false => Err(format!("{args:?} ended with {}: {said}{told}", output.status).into()),
        }
    }

    async fn sandbox(&self, args: &[&str]) -> Outcome<String> {
        self.output(&self.program, args).await
    }
}

/// Makes a sandbox, and removes it whatever comes of the work.
async fn with<W>(place: &Place, work: impl FnOnce(String) -> W) -> Outcome
where
    W: Future<Output = Outcome>,
{
    let id = place
        .sandbox(&["create", "--ttl", "10m", "--label", OURS])
        .await?
        .trim()
        .to_owned();
    let outcome = work(id.clone()).await;
    place.sandbox(&["rm", &id]).await?;
    outcome
}

async fn a_life_at_a_terminal(_: TestedBackend) -> Outcome {
    let Some(place) = Place::new()? else {
        return Ok(());
    };
    with(&place, async |id| {
        let listed: Value =
            serde_json::from_str(&place.sandbox(&["ls", "-l", OURS, "-o", "json"]).await?)?;
        let ids: Vec<_> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["id"].as_str())
            .collect();
        assert!(ids.contains(&id.as_str()), "{ids:?}");
        assert!(place.sandbox(&["info", &id]).await?.contains(&image()));

        let code = place
            .ended(&place.program, &["exec", &id, "--", "sh", "-c", "exit 7"])
            .await?
            .status
            .code();
        assert_eq!(code, Some(7));
        std::fs::create_dir_all(place.home.path().join("tree/sub"))?;
        std::fs::write(place.home.path().join("tree/sub/file"), "data\n")?;
        place
            .sandbox(&["cp", "tree", &format!("{id}:tree")])
            .await?;
        assert_eq!(
            place
                .sandbox(&["exec", &id, "--", "cat", "tree/sub/file"])
                .await?,
            "data\n"
        );
        place
            .sandbox(&["cp", &format!("{id}:tree"), "back"])
            .await?;
        assert_eq!(
            std::fs::read_to_string(place.home.path().join("back/sub/file"))?,
            "data\n"
        );

        let job = place
            .sandbox(&[
                "exec",
                "--detach",
                &id,
                "--",
                "sh",
                "-c",
                "echo begun; sleep 1; echo done",
            ])
            .await?;
        assert_eq!(
            place.sandbox(&["logs", "-f", &id, job.trim()]).await?,
            "begun\ndone\n"
        );
        place.sandbox(&["logs", "--system", &id]).await?;
        forwarded(&place, &id).await
    })
    .await
}

/// A web server within, seen from here.
async fn forwarded(place: &Place, id: &str) -> Outcome {
    let serve = "echo seen > index.html; httpd -f -p 8080";
    place
        .sandbox(&["exec", "--detach", id, "--", "sh", "-c", serve])
        .await?;
    let mut forward = place.command(&place.program);
    let mut forward = forward
        .args(["forward", id, "0:8080"])
        .stdout(Stdio::piped())
        .spawn()?;
    let said = forward.stdout.take().ok_or("no output")?;
    let line = tokio::time::timeout(LONG, BufReader::new(said).lines().next_line()).await??;
    let line = line.ok_or("it says nothing")?;
    let address = line
        .split(' ')
        .find(|word| word.starts_with("127.0.0.1:"))
        .ok_or(line.clone())?;
    let page = async {
        loop {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            let mut page = String::new();
            // The server may not listen yet: then the connection is closed without a word.
            if stream.read_to_string(&mut page).await.is_ok() && page.contains("seen") {
                return Outcome::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LONG, page).await??;
    forward.kill().await?;
    Ok(())
}

/// With nothing exposed: the Pod has no address that is used.
async fn openssh_through_the_api_server(_: TestedBackend) -> Outcome {
    let Some(place) = Place::new()? else {
        return Ok(());
    };
    if !peers::OPENSSH.is_here() {
        return Ok(());
    }
    with(&place, async |id| {
        place.sandbox(&["ssh-config", "--install", &id]).await?;
        // Where HOME is not that of the account, OpenSSH has to be told.
        let config = place.home.path().join(".ssh/config").display().to_string();
        let host = format!("{id}.sandbox");
        let said = place
            .output("ssh", &["-F", &config, &host, "echo in; hostname"])
            .await?;
        assert_eq!(said, format!("in\n{id}\n"));
        std::fs::write(place.home.path().join("sent"), vec![7; 3 << 20])?;
        place
            .output("scp", &["-F", &config, "sent", &format!("{host}:there")])
            .await?;
        place
            .output("scp", &["-F", &config, &format!("{host}:there"), "back"])
            .await?;
        let (sent, back) = (
            place.home.path().join("sent"),
            place.home.path().join("back"),
        );
        assert!(std::fs::read(sent)? == std::fs::read(back)?);
        place.sandbox(&["rm", &id]).await?;
        let left = place.home.path().join(".ssh/sandbox").join(&id);
        assert!(!left.exists(), "its keys are still there");
        Ok(())
    })
    .await
}

async fn doctor_finds_nothing(_: TestedBackend) -> Outcome {
    let Some(place) = Place::new()? else {
        return Ok(());
    };
    let output = place
        .ended(&place.program, &["doctor", "-o", "json"])
        .await?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks: Value = serde_json::from_str(&told)?;
    let failed: Vec<_> = checks
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["verdict"] == "fail")
        .collect();
    assert!(output.status.success() && failed.is_empty(), "{told}");
    for said in ["pods/portforward", "API server"] {
        assert!(told.contains(said), "{said} is not in {told}");
    }
    Ok(())
}
