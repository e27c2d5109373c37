//! The spans and events that `docs/OBSERVABILITY.md` lists are what a subscriber sees, and no secret is in any.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Client, Defaults, ListFilter, Result, SandboxBackend};
use sandbox_testkit::apiserver::ApiServer;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

const PAGE: &str = include_str!("../docs/OBSERVABILITY.md");
/// Must be nowhere.
const SECRET: &str = "hush-hush";

/// libtest's `main` is not ours, so this one begins as every program with local sandboxes does.
fn main() {
    sandbox::local::init();
    let seen = Seen::default();
    tracing_subscriber::registry().with(seen.clone()).init();
    let state = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(work(state.path()))
        .expect("no work fails that is not to fail");
    // Connections say goodbye in tasks of their own; with the runtime those have ended.
    drop(runtime);
    seen.check();
    println!("what was done is what was told, and no secret");
}

/// Something of everything that has a span, with a secret wherever one could be.
async fn work(state: &Path) -> Result<()> {
    let client = client(state);
    let sbx = client
        .sandbox()
        .env("MODE", SECRET)
        .secret_env("TOKEN", SECRET)
        .create()
        .await?;
    sbx.command("echo")
        .arg(SECRET)
        .env("MORE", SECRET)
        .output()
        .await?
        .check()?;
    assert!(
        sbx.command(format!("/{SECRET}"))
            .output()
            .await
            .is_ok_and(|output| !output.status.success())
    );
    let mut stream = sbx.command("cat").stdin(SECRET).spawn().await?;
    while let Some(event) = stream.next().await {
        event?;
    }
    drop(
        sbx.shell(format!("sleep 60 # {SECRET}"))
            .timeout(Duration::from_millis(50))
            .output()
            .await,
    );
    let _ended = sbx
        .command("echo")
        .arg(SECRET)
        .spawn_detached()
        .await?
        .wait()
        .await?;
    sbx.files().write("file", SECRET).await?;
    sbx.files().read("file").await?;
    sbx.delete().await?;

    let server = ApiServer::new("boxes");
    let kube = kube::Client::new(server, "boxes");
    let cluster = sandbox_k8s::KubernetesBackend::new(kube, Default::default());
    assert!(cluster.list(ListFilter::default()).await?.is_empty());
    Ok(())
}

fn client(state: &Path) -> Client {
    let mut options = sandbox_local::LocalOptions::default();
    options.state_dir = Some(state.to_owned());
    let backend = sandbox_local::LocalBackend::new(options).expect("a backend");
    let connector = Arc::new(sandbox_local::UnixConnector::new());
    let sessions = sandbox_ssh::SshSessions::new(connector, sandbox_ssh::SshOptions::default());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

/// What our crates said: the fields of each span and event by its name, and all of the text.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Told>>);

#[derive(Default)]
struct Told {
    spans: BTreeMap<String, BTreeSet<String>>,
    events: BTreeMap<String, BTreeSet<String>>,
    text: String,
}

impl Seen {
    fn check(&self) {
        let told = self.0.lock().unwrap();
        assert!(
            told.text.len() > 1000 && !told.text.contains(SECRET),
            "a secret was told:\n{}",
            told.text
        );
        for (name, fields) in listed("## Spans") {
            assert_eq!(told.spans.get(&name), Some(&fields), "the fields of {name}");
        }
        let known: BTreeSet<_> = listed("## Spans").into_keys().collect();
        let unknown: Vec<_> = told
            .spans
            .keys()
            .filter(|name| !known.contains(*name))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} are not on the page");
        let events = listed("## Events");
        for name in ["connected", "a command is done with"] {
            assert_eq!(
                told.events.get(name),
                events.get(name),
                "the fields of {name}"
            );
        }
    }
}

/// The names in the first column of the page's table below a heading, with the names of the fields in its last.
fn listed(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (_, below) = PAGE.split_once(heading).expect("the heading");
    let rows = below
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let names = |cell: &str| {
        // What a field can be stands in parentheses.
        let mut depth = 0;
        let plain = cell.chars().filter(|letter| {
            depth += i32::from(*letter == '(') - i32::from(*letter == ')');
            depth == 0
        });
        let plain: String = plain.collect();
        plain
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect::<BTreeSet<_>>()
    };
    let table = rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let name = names(cells[0]).pop_first().expect("a name");
        (name, names(cells[cells.len() - 1]))
    });
    table.collect()
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seen {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let meta = attributes.metadata();
        if meta.target().starts_with("sandbox") {
            let mut told = self.0.lock().unwrap();
            attributes.record(&mut Text(&mut told.text));
            let fields = meta
                .fields()
                .iter()
                .map(|field| field.name().to_owned())
                .collect();
            told.spans.insert(meta.name().to_owned(), fields);
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut Text(&mut self.0.lock().unwrap().text));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if meta.target().starts_with("sandbox") {
            let mut told = self.0.lock().unwrap();
            let mut said = String::new();
            event.record(&mut Text(&mut said));
            told.text.push_str(&said);
            let message = said
                .lines()
                .find_map(|line| line.strip_prefix("message="))
                .unwrap_or_default();
            let fields = meta.fields().iter().map(|field| field.name().to_owned());
            let fields = fields.filter(|name| name != "message").collect();
            told.events.insert(message.to_owned(), fields);
        }
    }
}

/// Each field on a line.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0, "{}={value:?}", field.name()).unwrap();
    }
}
