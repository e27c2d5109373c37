//! The tests, and what they start of this same program.

mod asked;
mod confinement;
mod landlock;
mod lifecycle;
mod measure;
mod ordinary;
mod probe;
mod servers;
mod support;

use std::process::ExitCode;

use libtest_mimic::Arguments;

pub(crate) use servers::become_another_server;

pub(crate) fn run() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        Some(("probe", rest)) => probe::run(rest),
        Some(("client", rest)) => lifecycle::client(rest),
        Some(("measure", rest)) => measure::run(rest),
        _ => {
            let trials = [
                asked::trials(),
                confinement::trials(),
                landlock::trials(),
                lifecycle::trials(),
                servers::trials(),
                ordinary::trials(),
            ];
            libtest_mimic::run(
                &Arguments::from_args(),
                trials.into_iter().flatten().collect(),
            )
            .exit_code()
        }
    }
}
