//! A test of the suite, and the backend that it is run on.

use std::error::Error;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use sandbox::{Client, Defaults};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a case may run. The slowest wait for minutes until a cluster has recovered; one that waits for what never
/// comes must not use up the time of the whole run without naming itself.
const LIMIT: Duration = Duration::from_secs(600);

/// The backend under test: one client of it, and a way to create more, as other programs would.
///
/// It dereferences to the one client, which all cases share.
#[derive(Clone)]
pub struct TestedBackend {
    client: Client,
    create_client: Arc<dyn Fn(Defaults) -> Client + Send + Sync>,
}

impl TestedBackend {
    /// A backend whose clients `create_client` creates. No two of them may share anything.
    pub fn new(create_client: impl Fn(Defaults) -> Client + Send + Sync + 'static) -> Self {
        Self {
            client: create_client(Defaults::default()),
            create_client: Arc::new(create_client),
        }
    }

    /// A client that shares nothing with the others.
    pub fn new_client(&self) -> Client {
        self.new_client_with(Defaults::default())
    }

    /// A client with other defaults, which shares nothing with the others.
    pub fn new_client_with(&self, defaults: Defaults) -> Client {
        (self.create_client)(defaults)
    }
}

impl Deref for TestedBackend {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

/// The result of a case. An error is printed with its sources.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// One test.
pub struct Case {
    /// The path of its function, `sandbox_conformance::commands::many_commands_run_at_once`.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(TestedBackend) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Case {
    /// The case as a trial of libtest-mimic, which runs on `runtime`.
    pub fn into_trial(self, backend: TestedBackend, runtime: Handle) -> Trial {
        Trial::test(self.name, move || {
            runtime
                .block_on(async { timeout(LIMIT, (self.run)(backend)).await })
                .map_err(|_| Failed::from(format!("still running after {} s", LIMIT.as_secs())))?
                .map_err(|error| Failed::from(error_with_sources(&*error)))
        })
    }
}

fn error_with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(&format!("\n  caused by: {source}"));
        next = source.source();
    }
    text
}

/// Defines `cases()`, which lists async functions of the calling module as [`Case`]s, named after
/// the functions.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        /// The cases of this module.
        pub fn cases() -> Vec<$crate::Case> {
            vec![$($crate::Case {
                name: concat!(module_path!(), "::", stringify!($name)),
                run: |backend| Box::pin($name(backend)),
            }),*]
        }
    };
}
