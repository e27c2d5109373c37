//! The way out of local sandboxes, with the programs that people use. Nothing here needs the internet: names are in a
//! resolver of the tests, and lead to servers on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod index;
mod internet;
mod leaks;
mod packages;
mod programs;
mod serving;
mod transforms;
mod upstreams;
mod world;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Conclusion, Trial};
use world::World;

/// What a test returns: it fails with any error.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Running = Pin<Box<dyn Future<Output = Outcome> + Send>>;
type Case = (&'static str, fn(Arc<World>) -> Running);

/// Lists async functions of one module as tests.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub(crate) const CASES: &[$crate::Case] = &[
            $((concat!(module_path!(), "::", stringify!($name)), |world| Box::pin($name(world)))),+
        ];
    };
}
pub(crate) use cases;

/// What counts the descriptors of this process.
const ALONE: [&str; 1] = ["a_flood_from_inside_blocks_only_the_way_out_of_its_own_sandbox"];

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let state_dir = tempfile::tempdir().expect("a directory");
    let world = Arc::new(World::new(state_dir.path()));
    let trials = [
        packages::CASES,
        programs::CASES,
        serving::CASES,
        transforms::CASES,
        upstreams::CASES,
    ]
    .concat()
    .into_iter()
    .map(|(name, run)| {
        let (world, handle) = (Arc::clone(&world), runtime.handle().clone());
        Trial::test(name.trim_start_matches("egress::"), move || {
            handle
                .block_on(run(world))
                .map_err(|error| error.to_string().into())
        })
    })
    .collect::<Vec<_>>();
    let conclusions = sandbox_testkit::run_trials(&arguments, trials, &ALONE);
    drop(runtime);
    if conclusions.iter().any(Conclusion::has_failed) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
