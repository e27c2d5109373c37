//! Isolation, life cycle and cleanup of local sandboxes, as root and as an unprivileged user.
//!
//! The program has no test harness because its `main` must begin with `init`.

#[cfg(target_os = "linux")]
mod linux;

fn main() -> std::process::ExitCode {
    #[cfg(target_os = "linux")]
    linux::become_mute_server();
    sandbox_local::init();
    #[cfg(target_os = "linux")]
    return linux::run();
    #[cfg(not(target_os = "linux"))]
    std::process::ExitCode::SUCCESS
}
