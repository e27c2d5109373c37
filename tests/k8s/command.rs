//! The command `sandbox` on a cluster, as a person uses it, with only the permissions of `deploy/`.
//! `SANDBOX_TEST_COMMAND` names the program.

use std::path::{Path, PathBuf};
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
    a_sandbox_is_used_from_the_command_line,
    openssh_connects_through_the_api_server,
    doctor_finds_nothing
];

const COMMAND: &str = "SANDBOX_TEST_COMMAND";
/// The label of the sandboxes of these tests.
const LABEL: &str = "created-by=the-command";
/// Much more than any step of a test takes.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Runs the command with a home of its own, and with the settings of the test only.
pub(crate) struct CommandRunner {
    program: PathBuf,
    home: tempfile::TempDir,
}

impl CommandRunner {
    /// `None` if the command was not built.
    pub(crate) fn new() -> Outcome<Option<Self>> {
        let Some(program) = std::env::var_os(COMMAND) else {
            peers::skip("command", &format!("needs the built command ({COMMAND})"));
            return Ok(None);
        };
        Ok(Some(Self {
            program: program.into(),
            home: tempfile::tempdir()?,
        }))
    }

    /// The command `sandbox`.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
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

    /// Runs a program to its end, with any exit status.
    pub(crate) async fn run(
        &self,
        program: impl AsRef<std::ffi::OsStr>,
        args: &[&str],
    ) -> Outcome<Output> {
        Ok(tokio::time::timeout(TIMEOUT, self.command(program).args(args).output()).await??)
    }

    /// The output of a program that has to succeed.
    async fn output(&self, program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> Outcome<String> {
        let output = self.run(program, args).await?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(stdout.into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(format!("{args:?} ended with {}: {stdout}{stderr}", output.status).into())
    }

    /// The output of the command, which has to succeed.
    pub(crate) async fn sandbox(&self, args: &[&str]) -> Outcome<String> {
        self.output(&self.program, args).await
    }
}

/// Creates a sandbox for `work`, and deletes it even if the work fails.
async fn with_sandbox<W>(runner: &CommandRunner, work: impl FnOnce(String) -> W) -> Outcome
where
    W: Future<Output = Outcome>,
{
    let id = runner
        .sandbox(&["create", "--ttl", "10m", "--label", LABEL])
        .await?
        .trim()
        .to_owned();
    let outcome = work(id.clone()).await;
    runner.sandbox(&["rm", &id]).await?;
    outcome
}

async fn a_sandbox_is_used_from_the_command_line(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    with_sandbox(&runner, async |id| {
        // The kubelet may report only later that it runs.
        loop {
            let info = runner.sandbox(&["info", &id, "-o", "json"]).await?;
            let info: Value = serde_json::from_str(&info)?;
            if info["state"] == "running" {
                break;
            }
            assert_eq!(info["state"], "pending", "{info}");
        }
        let listed: Value =
            serde_json::from_str(&runner.sandbox(&["ls", "-l", LABEL, "-o", "json"]).await?)?;
        let ids: Vec<_> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["id"].as_str())
            .collect();
        assert!(ids.contains(&id.as_str()), "{ids:?}");
        assert!(runner.sandbox(&["info", &id]).await?.contains(&image()));

        let code = runner
            .run(&runner.program, &["exec", &id, "--", "sh", "-c", "exit 7"])
            .await?
            .status
            .code();
        assert_eq!(code, Some(7));
        std::fs::create_dir_all(runner.home.path().join("tree/sub"))?;
        std::fs::write(runner.home.path().join("tree/sub/file"), "data\n")?;
        runner
            .sandbox(&["cp", "tree", &format!("{id}:tree")])
            .await?;
        assert_eq!(
            runner
                .sandbox(&["exec", &id, "--", "cat", "tree/sub/file"])
                .await?,
            "data\n"
        );
        runner
            .sandbox(&["cp", &format!("{id}:tree"), "back"])
            .await?;
        assert_eq!(
            std::fs::read_to_string(runner.home.path().join("back/sub/file"))?,
            "data\n"
        );

        let job = runner
            .sandbox(&[
                "exec",
                "--detach",
                &id,
                "--",
                "sh",
                "-c",
                "echo started; sleep 1; echo done",
            ])
            .await?;
        assert_eq!(
            runner.sandbox(&["logs", "-f", &id, job.trim()]).await?,
            "started\ndone\n"
        );
        runner.sandbox(&["logs", "--system", &id]).await?;
        check_forward(&runner, &id).await
    })
    .await
}

/// Reaches a web server in the sandbox over a forwarded port.
async fn check_forward(runner: &CommandRunner, id: &str) -> Outcome {
    let serve = "echo page > index.html; httpd -f -p 8080";
    runner
        .sandbox(&["exec", "--detach", id, "--", "sh", "-c", serve])
        .await?;
    let mut forward = runner.command(&runner.program);
    let mut forward = forward
        .args(["forward", id, "0:8080"])
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = forward.stdout.take().ok_or("no output")?;
    let line = tokio::time::timeout(TIMEOUT, BufReader::new(stdout).lines().next_line()).await??;
    let line = line.ok_or("the command printed nothing")?;
    let address = line
        .split(' ')
        .find(|word| word.starts_with("127.0.0.1:"))
        .ok_or(line.clone())?;
    let page = async {
        loop {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            let mut page = String::new();
            // While the server does not listen yet, the connection is closed at once.
            if stream.read_to_string(&mut page).await.is_ok() && page.contains("page") {
                return Outcome::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, page).await??;
    forward.kill().await?;
    Ok(())
}

/// The Pod exposes no port, and its address is not used.
async fn openssh_connects_through_the_api_server(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    if !peers::OPENSSH.is_available() {
        return Ok(());
    }
    with_sandbox(&runner, async |id| {
        runner.sandbox(&["ssh-config", "--install", &id]).await?;
        // OpenSSH takes the home from the account and not from HOME, so its configuration is named.
        let config = runner.home.path().join(".ssh/config").display().to_string();
        let host = format!("{id}.sandbox");
        let output = runner
            .output("ssh", &["-F", &config, &host, "echo in; hostname"])
            .await?;
        assert_eq!(output, format!("in\n{id}\n"));
        std::fs::write(runner.home.path().join("sent"), vec![7; 3 << 20])?;
        runner
            .output("scp", &["-F", &config, "sent", &format!("{host}:there")])
            .await?;
        runner
            .output("scp", &["-F", &config, &format!("{host}:there"), "back"])
            .await?;
        let sent = runner.home.path().join("sent");
        let back = runner.home.path().join("back");
        assert!(std::fs::read(sent)? == std::fs::read(back)?);
        runner.sandbox(&["rm", &id]).await?;
        let left = runner.home.path().join(".ssh/sandbox").join(&id);
        assert!(!left.exists(), "its keys are left");
        Ok(())
    })
    .await
}

async fn doctor_finds_nothing(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    let output = runner
        .run(&runner.program, &["doctor", "-o", "json"])
        .await?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let checks: Value = serde_json::from_str(&stdout)?;
    let failed: Vec<_> = checks
        .as_array()
        .into_iter()
        .flatten()
        .filter(|check| check["verdict"] == "failed")
        .collect();
    assert!(output.status.success() && failed.is_empty(), "{stdout}");
    for text in ["pods/portforward", "API server"] {
        assert!(stdout.contains(text), "{text} is not in {stdout}");
    }
    Ok(())
}
