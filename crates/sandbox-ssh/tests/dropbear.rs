//! Against dropbear.

mod support;

contract! {
    support::dropbear::start();
    exit_codes_are_data,
    the_streams_are_told_apart,
    arguments_arrive_as_they_are,
    a_directory_is_entered,
    variables_arrive_and_are_not_seen,
    variables_arrive_in_a_terminal,
    input_is_read_to_its_end,
    a_command_that_does_not_read_can_end,
    a_terminal_has_a_size,
    a_terminal_that_nobody_types_at,
    a_background_process_does_not_hold_up,
    a_command_runs_into_its_time_out,
    a_command_that_nobody_waits_for_ends,
    an_unread_stream_holds_up_nothing_else,
    a_port_is_reached,
    cancelled_calls_leak_no_channel,
    many_callers_share,
}
