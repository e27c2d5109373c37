//! Ends of processes.

use std::time::Duration;

use sandbox_core::{Error, ExecEvent, ExitStatus, Process};

/// Discards the output, and returns the end.
pub(crate) async fn read_to_end(mut process: Process) -> Result<ExitStatus, Error> {
    while let Some(event) = process.next().await {
        if let ExecEvent::Exited(status) = event? {
            return Ok(status);
        }
    }
    panic!("the process ended without an end event");
}

/// Whether a process exists and is not a zombie.
pub(crate) fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

pub(crate) async fn wait_until_dead(pid: &str) {
    for _ in 0..500 {
        if !is_alive(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{pid} is still alive");
}
