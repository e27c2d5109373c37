//! The sandbox server for programs whose `main` does not begin with `sandbox_local::init()`.

fn main() -> std::process::ExitCode {
    sandbox_local::init();
    eprintln!(
        "sandbox-local-server is started by the sandbox SDK, for each sandbox on this machine."
    );
    eprintln!("It has no options: put it beside the program that uses the SDK, or on PATH.");
    std::process::ExitCode::from(2)
}
