//! Code that is run in a local sandbox through a gateway: who may, what the client gets, and what an interpreter that was
//! replaced by something hostile can do. What the SDKs make of it is tested with them, in `tests/e2b`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod executions;
mod fixture;
mod hostile;
#[allow(dead_code, reason = "the other test programs use the rest")]
#[path = "../support.rs"]
mod support;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use fixture::Fixture;
use libtest_mimic::{Failed, Trial};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
/// A test by name.
type Case = (&'static str, fn(Arc<Fixture>) -> Running);

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let fixture = Arc::new(
        runtime
            .block_on(Fixture::start(dir.path()))
            .expect("two gateways"),
    );
    let cases: &[Case] = &[
        ("output_and_results_come_in_order", |f| {
            Box::pin(executions::output_and_results_come_in_order(f))
        }),
        ("replicas_share_contexts", |f| {
            Box::pin(executions::replicas_share_contexts(f))
        }),
        ("first_executions_at_once_share_one_server", |f| {
            Box::pin(executions::first_executions_at_once_share_one_server(f))
        }),
        ("a_client_that_leaves_interrupts_its_code", |f| {
            Box::pin(executions::a_client_that_leaves_interrupts_its_code(f))
        }),
        ("code_runs_as_the_user_of_the_template", |f| {
            Box::pin(executions::code_runs_as_the_user_of_the_template(f))
        }),
        ("only_the_owner_runs_code", |f| {
            Box::pin(hostile::only_the_owner_runs_code(f))
        }),
        ("requests_that_are_wrong_are_refused_in_words", |f| {
            Box::pin(hostile::requests_that_are_wrong_are_refused_in_words(f))
        }),
        ("code_resumes_a_paused_sandbox_that_allows_it", |f| {
            Box::pin(executions::code_resumes_a_paused_sandbox_that_allows_it(f))
        }),
        ("a_sandbox_that_is_killed_cuts_the_client_off", |f| {
            Box::pin(executions::a_sandbox_that_is_killed_cuts_the_client_off(f))
        }),
        ("a_hostile_interpreter_cannot_break_the_client", |f| {
            Box::pin(hostile::a_hostile_interpreter_cannot_break_the_client(f))
        }),
    ];
    let trials = cases
        .iter()
        .map(|(name, run)| {
            let (fixture, handle, run) = (Arc::clone(&fixture), runtime.handle().clone(), *run);
            Trial::test(*name, move || {
                let outcome = handle.block_on(run(fixture));
                outcome.map_err(|error| Failed::from(error.to_string()))
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
