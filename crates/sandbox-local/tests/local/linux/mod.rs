//! The tests, and the other roles of this program.

mod backend_methods;
mod cleanup;
mod client_process;
mod landlock;
mod landlock_fallback;
mod lifetimes;
mod limits;
mod namespaces;
mod no_isolation;
mod pausing;
mod persistence;
mod probe;
mod server_program;
mod start_latency;
mod support;
mod system_calls;
mod unprivileged;

use std::process::ExitCode;

use libtest_mimic::Arguments;

pub(crate) use server_program::become_mute_server;

pub(crate) fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        Some(("probe", rest)) => probe::run(rest),
        Some(("client", rest)) => client_process::run_client(rest),
        Some(("measure", rest)) => start_latency::run(rest),
        _ => {
            let trials = [
                backend_methods::trials(),
                namespaces::trials(),
                landlock::trials(),
                no_isolation::trials(),
                system_calls::trials(),
                limits::trials(),
                pausing::trials(),
                lifetimes::trials(),
                persistence::trials(),
                cleanup::trials(),
                server_program::trials(),
                landlock_fallback::trials(),
                unprivileged::trials(),
            ];
            libtest_mimic::run(
                &Arguments::from_args(),
                trials.into_iter().flatten().collect(),
            )
            .exit_code()
        }
    }
}
