//! What can be done from inside a sandbox, and what becomes of one, as root and as an
//! ordinary user. A program with a `main` of its own, for that must begin with `init`.

#[cfg(target_os = "linux")]
mod linux;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    linux::become_another_server();
    sandbox_local::init();
    #[cfg(target_os = "linux")]
    return linux::run();
    #[cfg(not(target_os = "linux"))]
    std::process::ExitCode::SUCCESS
}
