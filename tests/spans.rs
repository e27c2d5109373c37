//! A subscriber gets the spans and events that `docs/OBSERVABILITY.md` lists, and none contains a
//! secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox::{Client, ListFilter, Result, SandboxBackend};
use sandbox_testkit::apiserver::ApiServer;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

const PAGE: &str = include_str!("../docs/OBSERVABILITY.md");
/// Must be in no span or event.
const SECRET: &str = "hush-hush";

fn main() {
    sandbox::local::init();
    let recorder = Recorder::default();
    tracing_subscriber::registry().with(recorder.clone()).init();
    support::run_locally(use_everything);
    recorder.check();
    println!("the recorded spans and events are those of the page, without secrets");
}

/// Makes calls of every kind that has a span, with a secret in every place that can have one.
async fn use_everything(client: Client) -> Result<()> {
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

    let pool = client.pool(client.sandbox()).start()?;
    let taken = pool
        .take()
        .env("MODE", SECRET)
        .secret_env("TOKEN", SECRET)
        .await?;
    taken.delete().await?;
    pool.close().await?;
    // Local sandboxes are not shared, but the span of the claim begins before this is found out.
    let claim = client.sandbox().from_pool("ci").env("MODE", SECRET);
    let claimed = claim.secret_env("TOKEN", SECRET).create().await;
    assert!(matches!(claimed, Err(sandbox::Error::Unsupported(_))));

    let server = ApiServer::new("boxes");
    let kube = kube::Client::new(server, "boxes");
    let cluster = sandbox_k8s::KubernetesBackend::new(kube, Default::default());
    assert!(cluster.list(ListFilter::default()).await?.is_empty());
    Ok(())
}

/// A layer that records the spans and events of the SDK's crates.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Records>>);

#[derive(Default)]
struct Records {
    /// The names of the fields of each span.
    spans: BTreeMap<String, BTreeSet<String>>,
    /// The names of the fields of each event, by its message.
    events: BTreeMap<String, BTreeSet<String>>,
    /// All fields with their values.
    text: String,
}

impl Recorder {
    fn check(&self) {
        let records = self.0.lock().unwrap();
        assert!(
            records.text.len() > 1000 && !records.text.contains(SECRET),
            "a secret was recorded:\n{}",
            records.text
        );
        for (name, fields) in page_table("## Spans") {
            assert_eq!(
                records.spans.get(&name),
                Some(&fields),
                "the fields of {name}"
            );
        }
        let listed: BTreeSet<_> = page_table("## Spans").into_keys().collect();
        let unknown: Vec<_> = records
            .spans
            .keys()
            .filter(|name| !listed.contains(*name))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?} are not on the page");
        for (name, fields) in page_table("## Events") {
            let level = page_level(&name);
            let in_code = events_in_code(&name);
            assert!(!in_code.is_empty(), "no code records the event {name}");
            for event in in_code {
                assert_eq!(event, (level.clone(), fields.clone()), "{name}");
            }
            // The events of this program, as they were recorded.
            if let Some(recorded) = records.events.get(&name) {
                assert_eq!(recorded, &fields, "the fields of {name}");
            }
        }
        for name in ["connected", "command ended"] {
            assert!(records.events.contains_key(name), "{name} was not recorded");
        }
    }
}

/// The level of an event in the second column of the page's table.
fn page_level(name: &str) -> String {
    let row = PAGE
        .lines()
        .find(|line| line.starts_with(&format!("| `{name}")))
        .expect("a row");
    let level = row.split('|').nth(2).expect("a level");
    level.trim().to_owned()
}

/// The level and the names of the fields of each macro in the crates that records an event with this
/// message, of which the page may have only the beginning (`…`).
fn events_in_code(name: &str) -> Vec<(String, BTreeSet<String>)> {
    let beginning = format!("\"{}", name.trim_end_matches('…'));
    let is_whole = !name.ends_with('…');
    let mut found = Vec::new();
    for source in rust_sources() {
        for (at, _) in source.match_indices(&beginning) {
            let end = &source[at + beginning.len()..];
            if is_whole && !end.starts_with('"') {
                continue;
            }
            let before = &source[..at];
            let macros = ["error", "warn", "info", "debug", "trace"].map(|level| {
                let name = format!("tracing::{level}!(");
                before.rfind(&name).map(|start| (start + name.len(), level))
            });
            if let Some((start, level)) = macros.into_iter().flatten().max() {
                found.push((level.to_owned(), field_names(&before[start..])));
            }
        }
    }
    found
}

/// The names of the fields in the arguments of a macro, before its message.
fn field_names(arguments: &str) -> BTreeSet<String> {
    // A comma within parentheses separates no fields.
    let mut depth = 0;
    let fields = arguments.split(|letter: char| {
        depth += i32::from("([{".contains(letter)) - i32::from(")]}".contains(letter));
        letter == ',' && depth == 0
    });
    let names = fields.map(|field| {
        let name = field.split('=').next().unwrap_or_default().trim();
        name.trim_start_matches(['%', '?']).to_owned()
    });
    names.filter(|name| !name.is_empty()).collect()
}

/// The sources of all crates.
fn rust_sources() -> Vec<String> {
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates");
    let mut directories = vec![std::path::PathBuf::from(crates)];
    let mut sources = Vec::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

/// The names in the first column of the page's table below a heading, each with the names of the
/// fields in the last column.
fn page_table(heading: &str) -> BTreeMap<String, BTreeSet<String>> {
    let (_, below) = PAGE.split_once(heading).expect("the heading");
    let rows = below
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| line.starts_with("| `"));
    let names = |cell: &str| {
        // The values of a field stand in parentheses.
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let meta = attributes.metadata();
        if meta.target().starts_with("sandbox") {
            let mut records = self.0.lock().unwrap();
            attributes.record(&mut FieldsText(&mut records.text));
            let fields = meta
                .fields()
                .iter()
                .map(|field| field.name().to_owned())
                .collect();
            records.spans.insert(meta.name().to_owned(), fields);
        }
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut FieldsText(&mut self.0.lock().unwrap().text));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if meta.target().starts_with("sandbox") {
            let mut records = self.0.lock().unwrap();
            let mut text = String::new();
            event.record(&mut FieldsText(&mut text));
            records.text.push_str(&text);
            let message = text
                .lines()
                .find_map(|line| line.strip_prefix("message="))
                .unwrap_or_default();
            let fields = meta.fields().iter().map(|field| field.name().to_owned());
            let fields = fields.filter(|name| name != "message").collect();
            records.events.insert(message.to_owned(), fields);
        }
    }
}

/// Writes each field on a line of its own.
struct FieldsText<'a>(&'a mut String);

impl Visit for FieldsText<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        writeln!(self.0, "{}={value:?}", field.name()).unwrap();
    }
}
