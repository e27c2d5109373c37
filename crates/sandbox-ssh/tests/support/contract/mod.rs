//! Tests that hold against every server.

mod commands;
mod files;
mod sharing;
mod targets;
mod terminals;

use std::sync::Arc;

use sandbox_core::{ExecRequest, Session};

pub(crate) use commands::*;
pub(crate) use files::*;
pub(crate) use sharing::*;
pub(crate) use targets::*;
pub(crate) use terminals::*;

/// Turns functions of this module into tests, with a server for each.
#[macro_export]
macro_rules! contract {
    ($start:expr; $($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let Some(server) = $start else { return };
            $crate::support::contract::$name(&server.session().await).await;
        }
    )*};
}

/// The whole contract, with a server for each test.
#[macro_export]
macro_rules! full_contract {
    ($start:expr) => {
        $crate::contract! {
            $start;
            exit_codes_are_data,
            stdout_and_stderr_are_separate,
            arguments_arrive_unchanged,
            nul_is_refused,
            a_directory_is_entered,
            variables_arrive_and_stay_hidden,
            variables_arrive_in_a_terminal,
            input_is_read_to_its_end,
            a_command_that_does_not_read_can_end,
            a_terminal_has_a_size,
            a_terminal_without_input,
            much_output_is_capped_and_flagged,
            a_background_process_does_not_delay_the_end,
            late_output_arrives_or_is_reported,
            any_value_arrives,
            a_command_times_out,
            a_dropped_command_ends,
            an_unread_stream_blocks_nothing_else,
            files_are_uploaded_and_downloaded,
            names_may_be_odd,
            file_errors_have_reasons,
            file_operations_work,
            appended_bytes_follow_the_content,
            hashes_are_computed,
            uploads_are_resumed,
            an_existing_file_keeps_its_mode,
            an_existing_file_keeps_its_owner,
            a_link_is_written_through,
            a_device_or_fifo_gets_the_bytes,
            attributes_are_set,
            a_port_is_reached,
            cancelled_calls_leak_no_channel,
            cancelled_transfers_leave_no_files,
            many_callers_share,
        }
    };
}

pub(crate) type AnySession = Arc<dyn Session>;

pub(crate) const CAP: usize = 1 << 20;

/// Runs a shell line to its end.
pub(crate) async fn sh(session: &AnySession, line: &str) -> String {
    let output = session
        .output(ExecRequest::from_shell(line), CAP)
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{line}: {:?} {}",
        output.status,
        output.stderr_lossy()
    );
    output.stdout_lossy()
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// Bytes of memory in use.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
