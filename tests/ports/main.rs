//! Traffic to the ports of local sandboxes through a gateway, with clients that keep to HTTP and clients that do not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod access;
mod faults;
mod fixture;
mod hostile;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support.rs"]
mod support;
mod traffic;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use fixture::Fixture;
use libtest_mimic::{Failed, Trial};

/// What a test returns: it fails with any error.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A test by name.
pub(crate) type Case = (&'static str, fn(Arc<Fixture>) -> Running);

/// Lists async functions of one module as tests.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const CASES: &[$crate::Case] = &[
            $((concat!(module_path!(), "::", stringify!($name)), |fixture| Box::pin($name(fixture)))),+
        ];
    };
}
pub(crate) use cases;

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = if arguments.list {
        None
    } else {
        let started = runtime.block_on(Fixture::start(dir.path()));
        Some(Arc::new(started.expect("a gateway and two sandboxes")))
    };
    let trials = [access::CASES, faults::CASES, hostile::CASES, traffic::CASES]
        .concat()
        .into_iter()
        .map(|(name, run)| {
            let (fixture, handle) = (fixture.clone(), runtime.handle().clone());
            let name = name.trim_start_matches("ports::");
            Trial::test(name, move || match fixture {
                Some(fixture) => handle
                    .block_on(run(fixture))
                    .map_err(|error| Failed::from(error.to_string())),
                None => Ok(()),
            })
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(fixture) = &fixture {
        for sandbox in [&fixture.sandbox, &fixture.other] {
            runtime.block_on(sandbox.delete()).expect("a deletion");
        }
    }
    conclusion.exit_code()
}
