//! Against OpenSSH.

mod support;

contract! {
    support::openssh::start(&[]);
    exit_codes_are_data,
    the_streams_are_told_apart,
    arguments_arrive_as_they_are,
    nul_is_refused,
    a_directory_is_entered,
    input_is_read_to_its_end,
    a_command_that_does_not_read_can_end,
    a_terminal_has_a_size,
    much_output_is_capped_and_flagged,
    a_background_process_does_not_hold_up,
    a_command_runs_into_its_time_out,
    an_unread_stream_holds_up_nothing_else,
    files_go_both_ways,
    names_may_be_odd,
    file_errors_have_reasons,
    files_are_changed,
    a_port_is_reached,
    cancelled_calls_leak_no_channel,
    cancelled_transfers_leave_nothing,
    many_callers_share,
}
