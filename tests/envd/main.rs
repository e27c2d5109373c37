//! What E2B's daemon answers, asked of a gateway in front of the local backend, byte by byte as E2B's SDKs ask.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod access;
mod client;
mod downloads;
mod endings;
mod events;
mod exchange;
mod faults;
mod processes;
mod terminals;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::Trial;

use client::Gateway;

/// A test that runs.
type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A test: its name, and what it does with a gateway.
type Test = (&'static str, fn(Arc<Gateway>) -> Running);

/// Makes a list of tests of async functions.
macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[crate::Test] = &[
            $((concat!(module_path!(), "::", stringify!($name)), |gateway| Box::pin($name(gateway))),)*
        ];
    };
}
pub(crate) use tests;

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let directory = tempfile::tempdir().expect("a directory");
    let gateway = Arc::new(runtime.block_on(Gateway::start(directory.path())));
    let all = [
        processes::TESTS,
        terminals::TESTS,
        endings::TESTS,
        faults::TESTS,
        downloads::TESTS,
        access::TESTS,
    ];
    let trials = all.into_iter().flatten().map(|(name, test)| {
        let gateway = Arc::clone(&gateway);
        let handle = runtime.handle().clone();
        Trial::test(*name, move || {
            handle.block_on(test(gateway));
            Ok(())
        })
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    runtime.block_on(gateway.delete_all());
    conclusion.exit_code()
}
