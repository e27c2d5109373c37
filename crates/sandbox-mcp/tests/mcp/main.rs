//! The server as its clients see it, on local sandboxes: messages in, messages out.
//!
//! The program has no test harness because its `main` must begin with `init`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod commands;
mod egress;
mod files;
mod hostile;
mod http_support;
mod over_http;
mod sandboxes;
mod sharing;
mod support;

use std::process::ExitCode;

use libtest_mimic::Trial;

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = sandbox_testkit::read_arguments();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut trials: Vec<Trial> = Vec::new();
    for cases in [
        commands::cases(),
        egress::cases(),
        files::cases(),
        hostile::cases(),
        over_http::cases(),
        sandboxes::cases(),
        sharing::cases(),
    ] {
        for (name, run) in cases {
            let handle = runtime.handle().clone();
            trials.push(Trial::test(name, move || {
                handle.block_on(run());
                Ok(())
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
