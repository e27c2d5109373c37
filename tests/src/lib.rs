//! One list of what every backend must do, seen through the facade as a program sees it.
//!
//! `tests/local.rs` runs it on this machine; a cluster runs the same list.

// These are tests: they may panic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a failed assertion is the point"
)]

use std::future::Future;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use libtest_mimic::{Failed, Trial};
use sandbox::{Client, Defaults, Sandbox};
use tokio::runtime::Handle;

pub mod commands;
pub mod files;
pub mod jobs;
pub mod lifecycle;
pub mod odd_input;
pub mod ports;
pub mod resuming;
pub mod trees;
pub mod watching;

/// A backend to try: a client of it, and the means to make more, as other programs would.
#[derive(Clone)]
pub struct World {
    client: Client,
    make: Arc<dyn Fn(Defaults) -> Client + Send + Sync>,
}

impl World {
    pub fn new(make: impl Fn(Defaults) -> Client + Send + Sync + 'static) -> Self {
        Self {
            client: make(Defaults::default()),
            make: Arc::new(make),
        }
    }

    /// A client that shares nothing with the others.
    pub fn fresh(&self) -> Client {
        self.with_defaults(Defaults::default())
    }

    /// The same with other defaults.
    pub fn with_defaults(&self, defaults: Defaults) -> Client {
        (self.make)(defaults)
    }
}

impl Deref for World {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What a case ends with; an error is told with its causes.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The whole list as trials of one backend, run on `runtime`.
pub fn conformance(world: &World, runtime: &Handle) -> Vec<Trial> {
    [
        commands::cases(),
        files::cases(),
        jobs::cases(),
        lifecycle::cases(),
        odd_input::cases(),
        ports::cases(),
        resuming::cases(),
        trees::cases(),
        watching::cases(),
    ]
    .into_iter()
    .flatten()
    .map(|case| case.into_trial(world.clone(), runtime.clone()))
    .collect()
}

/// One thing that must hold.
pub struct Case {
    pub name: &'static str,
    pub run: fn(World) -> Pin<Box<dyn Future<Output = Outcome> + Send>>,
}

impl Case {
    /// The same for a harness.
    pub fn into_trial(self, world: World, runtime: Handle) -> Trial {
        Trial::test(self.name, move || {
            runtime
                .block_on((self.run)(world))
                .map_err(|error| Failed::from(told(&*error)))
        })
    }
}

/// A sandbox for one case, deleted whatever comes of it.
pub async fn with_sandbox<W>(world: World, work: impl FnOnce(Sandbox) -> W) -> Outcome
where
    W: Future<Output = Outcome>,
{
    let sbx = world.sandbox().create().await?;
    let outcome = AssertUnwindSafe(work(sbx.clone())).catch_unwind().await;
    sbx.delete().await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!("\n  caused by: {cause}"));
        next = cause.source();
    }
    text
}

/// Lists async functions of a module as cases, by their names.
#[macro_export]
macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub fn cases() -> Vec<$crate::Case> {
            vec![$($crate::Case {
                name: concat!(module_path!(), "::", stringify!($name)),
                run: |world| Box::pin($name(world)),
            }),*]
        }
    };
}
