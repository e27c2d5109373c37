//! The sandbox server for programs whose `main` does not begin with `sandbox_local::init()`.

fn main() -> std::process::ExitCode {
    sandbox_local::init();
    eprintln!(
        "sandbox-local-server cannot be started by hand: the sandbox SDK starts it for each local sandbox."
    );
    eprintln!("Put it next to the program that uses the SDK, or on PATH.");
    std::process::ExitCode::from(2)
}
