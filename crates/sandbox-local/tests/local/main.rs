//! What can be done from inside a sandbox, and what becomes of one, as root and as an
//! ordinary user.

mod confinement;
mod lifecycle;
mod ordinary;
mod probe;
mod support;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn main() -> ExitCode {
    sandbox_local::init();
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("probe") => return probe::run(&words.collect::<Vec<_>>()),
        Some("client") => return lifecycle::client(&words.collect::<Vec<_>>()),
        _ => {}
    }
    let mut trials: Vec<Trial> = confinement::trials();
    trials.extend(lifecycle::trials());
    trials.extend(ordinary::trials());
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials).exit_code()
}
