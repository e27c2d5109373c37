//! Runs the client's contract tests against dropbear.

use crate::support;

crate::contract! {
    support::dropbear::start();
    exit_codes_are_data,
    stdout_and_stderr_are_separate,
    arguments_arrive_unchanged,
    a_directory_is_entered,
    variables_arrive_and_stay_hidden,
    variables_arrive_in_a_terminal,
    input_is_read_to_its_end,
    a_command_that_does_not_read_can_end,
    a_terminal_has_a_size,
    a_terminal_without_input,
    a_background_process_does_not_delay_the_end,
    a_command_times_out,
    a_dropped_command_ends,
    an_unread_stream_blocks_nothing_else,
    a_port_is_reached,
    cancelled_calls_leak_no_channel,
    many_callers_share,
}
