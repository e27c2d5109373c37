//! The measured client as a process: `xtask bench scale-client PORT SANDBOXES`. It prints its figures as JSON.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox::{Client, Defaults, ListFilter, Sandbox};
use sandbox_k8s::options::{Injection, KubernetesOptions};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};
use serde::Deserialize;

use super::figures::{Cost, Figures};
use super::server::{CHANGE, CLEAR, EXPIRE, NAMESPACE, STATUS};
use super::sessions::WithoutConnection;
use super::usage::{Begun, resident_bytes};

/// How many sandboxes are created and deleted at once.
const AT_ONCE: usize = 64;
/// How long the sandboxes are held.
const HOLD: Duration = Duration::from_secs(15);
/// The interval of the lists that find out whether all changes were received, for each sandbox.
const POLL: Duration = Duration::from_micros(50);
/// Lists and rounds of changes: the figures are their mean. Fewer sandboxes need more of them to be measurable.
const OPERATIONS: usize = 20_000;

#[derive(Deserialize)]
struct Status {
    requests: BTreeMap<String, usize>,
    objects: usize,
}

struct Measured {
    api: kube::Client,
    client: Client,
}

pub(in crate::bench) fn run(port: &str, size: &str) -> Result<()> {
    let size = size.parse()?;
    let figures = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(measure(port, size))?;
    serde_json::to_writer(std::io::stdout(), &figures)?;
    Ok(())
}

async fn measure(port: &str, size: usize) -> Result<Figures> {
    let measured = Measured::connect(port).await?;
    // What the first sandboxes cost once is not part of what each costs.
    let warm_up = measured.create(AT_ONCE).await?;
    delete(warm_up).await?;
    measured.command(CLEAR).await?;
    let resident_before = resident_bytes()?;

    let begun = Begun::now()?;
    let sandboxes = measured.create(size).await?;
    let create = begun.cost()?;

    let begun = Begun::now()?;
    tokio::time::sleep(HOLD).await;
    let hold = begun.cost()?;
    let held_bytes = resident_bytes()?.saturating_sub(resident_before);

    let rounds = (OPERATIONS / size).max(1);
    let begun = Begun::now()?;
    for round in 0..rounds {
        measured.change_all(round, size).await?;
    }
    let churn = mean(begun.cost()?, rounds);

    let begun = Begun::now()?;
    for _ in 0..rounds {
        ensure!(measured.client.list(ListFilter::default()).await?.len() == size);
    }
    let list = mean(begun.cost()?, rounds);

    let begun = Begun::now()?;
    measured.command(EXPIRE).await?;
    // The new list shows the changes.
    measured.change_all(rounds, size).await?;
    let relist = begun.cost()?;

    let begun = Begun::now()?;
    delete(sandboxes).await?;
    let delete = begun.cost()?;
    let status: Status = serde_json::from_str(&measured.command(STATUS).await?)?;
    Ok(Figures {
        sandboxes: size,
        create,
        held_bytes,
        hold_cpu_seconds_a_minute: hold.cpu_seconds * 60.0 / HOLD.as_secs_f64(),
        churn,
        list,
        relist,
        delete,
        left: status.objects,
        requests: status.requests,
    })
}

impl Measured {
    async fn connect(port: &str) -> Result<Self> {
        let kubeconfig = tempfile::NamedTempFile::new()?;
        let server = format!("http://127.0.0.1:{port}");
        let config = serde_json::json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": server}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "here"}}],
            "users": [{"name": "here", "user": {}}],
        });
        serde_json::to_writer(kubeconfig.as_file(), &config)?;
        let mut cluster = ClusterOptions::default();
        cluster.kubeconfig = Some(kubeconfig.path().to_owned());
        let api = connect_cluster(&cluster).await?;
        let mut options = KubernetesOptions::default();
        options.namespace = Some(NAMESPACE.to_owned());
        options.injection = Injection::baked();
        let backend = KubernetesBackend::new(api.clone(), options);
        let sessions = WithoutConnection::new(backend.clone());
        let mut defaults = Defaults::default();
        defaults.image = Some("busybox:1".to_owned());
        let client = Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults);
        Ok(Self { api, client })
    }

    async fn create(&self, count: usize) -> Result<Vec<Sandbox>> {
        stream::iter(0..count)
            .map(|_| self.client.sandbox().create())
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
            .context("cannot create a sandbox")
    }

    /// Has all Pods changed, and waits until the client shows the changes of all.
    async fn change_all(&self, round: usize, size: usize) -> Result<()> {
        self.command(&format!("{CHANGE}?{round}")).await?;
        let label = ("round".to_owned(), round.to_string());
        let changed = ListFilter::from_labels([label]);
        while self.client.list(changed.clone()).await?.len() < size {
            tokio::time::sleep(POLL * u32::try_from(size)?).await;
        }
        Ok(())
    }

    /// Sends a command to the server beside its API.
    async fn command(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        Ok(self.api.request_text(request).await?)
    }
}

async fn delete(sandboxes: Vec<Sandbox>) -> Result<()> {
    stream::iter(sandboxes)
        .map(|sandbox| async move { sandbox.delete().await })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
        .context("cannot delete a sandbox")
}

fn mean(cost: Cost, times: usize) -> Cost {
    Cost {
        seconds: cost.seconds / times as f64,
        cpu_seconds: cost.cpu_seconds / times as f64,
    }
}
