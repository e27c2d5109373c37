//! The gateway over HTTP, on local sandboxes.
//!
//! The program has no test harness because its `main` must begin with `init`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod checking;
mod composing;
mod creating;
mod egress;
mod ends;
mod hostile;
mod lifecycle;
mod lists;
mod measured;
mod operating;
mod origin;
mod pausing;
mod secrets;
mod support;
mod tls;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    sandbox::local::init();
    let arguments = Arguments::from_args();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut trials: Vec<Trial> = Vec::new();
    for cases in [
        checking::cases(),
        composing::cases(),
        creating::cases(),
        egress::cases(),
        hostile::cases(),
        lifecycle::cases(),
        lists::cases(),
        measured::cases(),
        operating::cases(),
        pausing::cases(),
        secrets::cases(),
        tls::cases(),
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
