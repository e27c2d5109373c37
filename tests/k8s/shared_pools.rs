//! Pools that processes share, with the command as the processes: one fills, others claim, and each is killed.
//! Claimers have only the permissions of `deploy/`.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::ListParams;
use sandbox::{Access, ConnectionStage, Error, PrivateKey, SandboxId, SessionSource};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::cluster::{KUBECONFIG, api, namespace, options, restricted_backend};
use crate::command::CommandRunner;

cases![
    processes_claim_from_a_pool_that_another_one_fills,
    another_filler_adopts_what_a_killed_one_left,
    without_a_filler_what_waits_ends_by_itself
];

/// Much more than any step takes, with many other cases at the same time.
const TIMEOUT: Duration = Duration::from_secs(240);

/// A running `sandbox pool run`, whose reports are read.
struct Filler {
    process: Child,
    reports: Lines<BufReader<ChildStdout>>,
}

impl Filler {
    fn start(
        runner: &CommandRunner,
        pool: &str,
        size: &str,
        env: &[(&str, &str)],
    ) -> Outcome<Self> {
        let mut command = runner.command(runner.program());
        command.envs(env.iter().copied());
        as_administrator(&mut command);
        command.args(["pool", "run", pool, "--size", size, "-o", "json"]);
        let mut process = command.stdout(Stdio::piped()).spawn()?;
        let stdout = process.stdout.take().ok_or("no output")?;
        Ok(Self {
            process,
            reports: BufReader::new(stdout).lines(),
        })
    }

    /// Reads reports until one is as expected, and returns it.
    async fn wait_for(&mut self, is_expected: impl Fn(&Value) -> bool) -> Outcome<Value> {
        let mut last = Value::Null;
        let reading = async {
            while let Some(line) = self.reports.next_line().await? {
                last = serde_json::from_str(&line)?;
                if is_expected(&last) {
                    return Outcome::Ok(());
                }
            }
            Err("the filler has ended".into())
        };
        let read = tokio::time::timeout(TIMEOUT, reading).await;
        match read {
            Ok(Ok(())) => Ok(last),
            Ok(Err(error)) => Err(format!("{error}; its last report: {last}").into()),
            Err(_elapsed) => Err(format!("timed out; the last report: {last}").into()),
        }
    }

    async fn wait_until_filled(&mut self) -> Outcome<Value> {
        self.wait_for(|report| {
            report["leading"] == true && report["waiting"].as_u64() >= report["target"].as_u64()
        })
        .await
    }

    /// Ends it as an orchestrator does. It exits with 0.
    async fn terminate(mut self) -> Outcome {
        let pid = self.process.id().ok_or("the filler has ended")?;
        let sent = Command::new("kill").arg(pid.to_string()).status().await?;
        assert!(sent.success(), "no SIGTERM was sent");
        let status = tokio::time::timeout(TIMEOUT, self.process.wait()).await??;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

/// Filling and removing a pool needs permissions on Leases that claimers have not.
fn as_administrator(command: &mut Command) {
    if let Some(kubeconfig) = std::env::var_os(KUBECONFIG) {
        command.env("SANDBOX_KUBECONFIG", kubeconfig);
    }
}

/// Removes a pool that no process fills.
async fn remove(runner: &CommandRunner, pool: &str) -> Outcome {
    let mut command = runner.command(runner.program());
    as_administrator(&mut command);
    command.args(["pool", "rm", "--force", pool]);
    let output = tokio::time::timeout(TIMEOUT, command.output()).await??;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    Ok(())
}

/// The ids in a state of the pool, as `sandbox ls` lists them.
async fn members(runner: &CommandRunner, pool: &str, state: &str) -> Outcome<BTreeSet<String>> {
    let listed: Value = serde_json::from_str(&runner.sandbox(&["ls", "-o", "json"]).await?)?;
    let is_member = |info: &&Value| {
        // Some may be `pending` still: a kubelet reports late that they run.
        info["pool"]["name"] == pool && info["pool"]["state"] == state && info["state"] != "ended"
    };
    let members = listed.as_array().into_iter().flatten().filter(is_member);
    Ok(members
        .filter_map(|info| Some(info["id"].as_str()?.to_owned()))
        .collect())
}

/// The key with which a sandbox waited.
async fn former_key(id: &SandboxId) -> Outcome<PrivateKey> {
    let secrets: Api<Secret> = Api::namespaced(api().await?, namespace());
    let listed = secrets.list(&ListParams::default()).await?;
    let begins = format!("{id}-keys-");
    let waited = listed.items.into_iter().find(|secret| {
        let name = secret.metadata.name.as_deref().unwrap_or_default();
        let has_pool = secret
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key("pool"));
        name.starts_with(&begins) && has_pool
    });
    let data = waited.and_then(|secret| secret.data).unwrap_or_default();
    let key = data.get("client-key").ok_or("no key is stored")?;
    Ok(PrivateKey::from_openssh(String::from_utf8(key.0.clone())?)?)
}

async fn processes_claim_from_a_pool_that_another_one_fills(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    let pool = "crowd";
    let mut filler = Filler::start(&runner, pool, "4", &[])?;
    filler.wait_until_filled().await?;

    // Eight processes at once, for four that wait.
    let start = Instant::now();
    let claim = ["create", "--pool", pool, "--label", "of=crowd"];
    let claims = (0..8).map(|_| runner.sandbox(&claim));
    let claimed = futures_util::future::try_join_all(claims).await?;
    println!("8 claims at once from a pool of 4: {:?}", start.elapsed());
    let ids: BTreeSet<String> = claimed.iter().map(|id| id.trim().to_owned()).collect();
    assert_eq!(ids.len(), 8, "{claimed:?}");
    let report = filler
        .wait_for(|report| report["waiting"] == 4 && report["claimed"] == 8)
        .await?;
    println!("refilled: {report}");

    // A detached claim is used from another process, and from none that has the former key.
    let id: SandboxId = ids.first().ok_or("no id")?.parse()?;
    let key = former_key(&id).await?;
    let used = runner
        .sandbox(&["exec", id.as_str(), "--", "echo", "attached"])
        .await?;
    assert_eq!(used, "attached\n");
    assert_refused(&id, key).await?;

    // An attached one is deleted after its command.
    let start = Instant::now();
    let run = [
        "run",
        "--pool",
        pool,
        "-e",
        "GREETING=hello",
        "--",
        "sh",
        "-c",
        "echo $GREETING",
    ];
    assert_eq!(runner.sandbox(&run).await?, "hello\n");
    println!("run --pool, with a variable: {:?}", start.elapsed());

    let listed: Value =
        serde_json::from_str(&runner.sandbox(&["pool", "ls", "-o", "json"]).await?)?;
    let own = |one: &&Value| one["name"] == pool;
    let summary = listed
        .as_array()
        .into_iter()
        .flatten()
        .find(own)
        .ok_or("not listed")?;
    assert!(
        summary["taken"].as_u64() >= Some(8) && summary["filler"].is_string(),
        "{summary}"
    );
    let refused = runner
        .run(runner.program(), &["pool", "drain", pool])
        .await?;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(125));
    assert!(message.contains("is filled by"), "{message}");

    filler.terminate().await?;
    remove(&runner, pool).await?;
    assert!(members(&runner, pool, "waiting").await?.is_empty());
    let mut removal = vec!["rm"];
    removal.extend(ids.iter().map(String::as_str));
    runner.sandbox(&removal).await?;
    Ok(())
}

/// Asserts that the sandbox does not accept this key, although it answers.
async fn assert_refused(id: &SandboxId, key: PrivateKey) -> Outcome {
    let backend = restricted_backend(options()).await?;
    let sessions = sandbox_ssh::SshSessions::new(
        std::sync::Arc::new(backend.connector()),
        sandbox_ssh::SshOptions::default(),
    );
    let now = sandbox::SandboxBackend::access(&backend, id).await?;
    let access = Access {
        client_key: key,
        ..now
    };
    let deadline = sandbox::Deadline::from_now(Duration::from_secs(30));
    match sessions.session(access.into(), deadline).await {
        Err(Error::Connection(error)) if error.stage == ConnectionStage::Auth => Ok(()),
        Err(error) => Err(format!("another error: {error}").into()),
        Ok(_) => Err("the former key is accepted".into()),
    }
}

async fn another_filler_adopts_what_a_killed_one_left(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    let pool = "heirs";
    let mut first = Filler::start(&runner, pool, "3", &[])?;
    first.wait_until_filled().await?;
    let before = members(&runner, pool, "waiting").await?;
    let mut second = Filler::start(&runner, pool, "3", &[])?;
    second
        .wait_for(|report| report["state"] == "standby")
        .await?;

    let start = Instant::now();
    first.process.kill().await?;
    second.wait_until_filled().await?;
    println!("adopted after a kill: {:?}", start.elapsed());
    assert_eq!(members(&runner, pool, "waiting").await?, before);
    let claimed = runner
        .sandbox(&["run", "--pool", pool, "--", "echo", "mine"])
        .await?;
    assert_eq!(claimed, "mine\n");

    second.terminate().await?;
    remove(&runner, pool).await?;
    Ok(())
}

async fn without_a_filler_what_waits_ends_by_itself(_: TestedBackend) -> Outcome {
    let Some(runner) = CommandRunner::new()? else {
        return Ok(());
    };
    let pool = "orphans";
    let attach = [("SANDBOX_ATTACH_TIMEOUT", "10s")];
    let mut filler = Filler::start(&runner, pool, "2", &attach)?;
    filler.wait_until_filled().await?;
    filler.process.kill().await?;
    let start = Instant::now();
    while !members(&runner, pool, "waiting").await?.is_empty() {
        assert!(start.elapsed() < TIMEOUT, "they still wait");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("what waited has ended: {:?}", start.elapsed());
    let claim = ["run", "--pool", pool, "--on-empty", "fail", "--", "true"];
    let empty = runner.run(runner.program(), &claim).await?;
    let message = String::from_utf8_lossy(&empty.stderr).into_owned();
    assert_eq!(empty.status.code(), Some(125), "{message}");
    assert!(message.contains("no sandbox could be taken"), "{message}");
    remove(&runner, pool).await?;
    Ok(())
}
