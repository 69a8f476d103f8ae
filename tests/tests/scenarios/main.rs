//! The contract, sentence by sentence, over real sockets: one list of scenarios, run on every server that we have.
//!
//! Each scenario starts servers of its own on ports of the system's choice, so that all of them run side by side. To add
//! one, write a `pub fn name(runtime: &Runtime)` in its group's file and its name in the list.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "see wrs_tests::real"
)]

use std::io::Write;
use std::sync::Once;

use wrs_tests::real::{Kind, Runtime};

/// Modules of scenarios, the list of all of them, and a test for each on each server.
macro_rules! scenarios {
    ($($group:ident { $($name:ident)* })*) => {
        $(mod $group;)*

        /// Every scenario.
        const SCENARIOS: &[(&str, fn(&Runtime))] =
            &[$($((concat!(stringify!($group), "::", stringify!($name)), $group::$name),)*)*];

        tests! { smol, Kind::Smol, 2, $($group { $($name)* })* }
        tests! { smol_one_shard, Kind::Smol, 1, $($group { $($name)* })* }
        tests! { smol_sixteen_shards, Kind::Smol, 16, $($group { $($name)* })* }
        tests! { glommio, Kind::Glommio, 2, $($group { $($name)* })* }
    };
}

macro_rules! tests {
    ($runtime:ident, $kind:expr, $shards:expr, $($group:ident { $($name:ident)* })*) => {
        mod $runtime {
            $(mod $group {
                use crate::*;
                $(#[test]
                fn $name() {
                    run(Runtime { kind: $kind, shards: $shards }, crate::$group::$name);
                })*
            })*
        }
    };
}

/// Runs a scenario, or says once and past the test's captured output why none runs on this server.
fn run(runtime: Runtime, scenario: fn(&Runtime)) {
    static SAID: Once = Once::new();
    match runtime.kind.availability() {
        Ok(()) => scenario(&runtime),
        Err(why) => SAID.call_once(|| {
            let count = SCENARIOS.len();
            let mut past_the_capture = std::io::stderr();
            writeln!(past_the_capture, "\n{:?}: {count} scenarios SKIPPED: {why}", runtime.kind).unwrap();
        }),
    }
}

scenarios! {
    rest {
        a_channel_is_created_as_its_creator_wants_it
        a_wrong_member_is_refused_and_named
        a_body_of_another_type_is_refused
        both_spellings_name_one_resource
        a_channel_is_shown_and_deleted
        the_token_is_shown_once
        channels_are_listed_in_order_and_in_pages
        a_long_list_goes_at_its_readers_pace
        reset_deletes_every_channel
        one_node_is_a_cluster_of_its_own
        pages_are_html
        the_openapi_document_describes_every_resource
        a_node_says_how_it_is
        metrics_are_prometheus_text
        head_answers_as_get_without_a_body
        options_say_what_a_resource_has
        another_method_is_405_with_allow
        what_is_no_resource_is_404
        every_page_may_use_the_api_by_default
        a_list_of_origins_is_kept_to
        the_operators_resources_answer_no_foreign_page
        a_change_is_seen_everywhere_once_it_is_answered
        ids_never_collide_however_short
        limits_of_size_have_their_statuses
    }
    http {
        a_connection_carries_many_requests
        requests_are_answered_in_their_order
        a_client_may_end_the_connection
        http_1_0_ends_the_connection
        a_chunked_body_is_a_body
        a_body_waits_for_100_continue
        shapes_of_smuggling_are_refused
        rubbish_is_refused_and_harms_nobody
        a_head_that_drips_is_cut_off
        a_body_that_drips_is_cut_off
        a_connection_that_says_nothing_is_ended
        resets_take_nothing_from_the_connections_that_follow
        an_idle_connection_is_ended
        an_answer_arrives_though_the_client_goes_on_sending
        a_client_that_has_said_all_gets_its_answer
        a_request_cut_anywhere_is_the_same_request
    }
    connect {
        a_handshake_is_answered_as_rfc_6455_says
        every_client_has_a_name_of_its_own
        checks_come_in_the_contracts_order
        a_bad_handshake_is_400
        another_version_is_426_and_told_which
        the_token_may_stand_in_any_of_its_places
        subprotocols_are_negotiated
        origins_are_checked_for_pages_alone
        messages_behind_the_handshake_are_not_lost
        a_refused_client_may_ask_again_on_the_same_connection
    }
    patterns {
        echo_gives_a_message_back_to_its_sender_alone
        pub_sub_gives_a_message_to_everyone
        echo_false_keeps_a_clients_own_messages_from_it
        text_and_binary_keep_their_type
        order_is_kept_per_sender
        push_pull_goes_round
        push_pull_skips_the_sender
        push_pull_alone_gives_the_message_back
        pull_false_stands_in_no_queue
        push_pull_is_exact_under_concurrent_senders
        a_worker_that_leaves_gets_nothing_more
        req_repl_brings_a_request_to_all_others_and_the_reply_back
        a_request_keeps_every_byte_but_its_origin
        replies_pass_byte_for_byte
        what_is_no_envelope_is_malformed
        a_request_without_a_recipient_says_so
        a_reply_to_nobody_says_so
        fan_in_out_gives_a_request_to_one
        fan_in_out_is_exact_under_concurrent_senders
        fan_in_out_with_pull_false
        large_messages_arrive_whole
        channels_do_not_hear_each_other
    }
    times {
        a_timeout_of_0_deletes_at_once_after_the_201
        a_channel_ends_after_its_timeout
        a_message_prolongs_a_channel
        a_message_answered_with_an_error_prolongs_too
        a_client_that_says_nothing_prolongs_nothing
        the_countdown_is_exact
        times_saturate
    }
    limits {
        a_client_limit_is_exact_under_racing_joins
        a_client_limit_of_0_lets_nobody_in
        a_seat_is_free_once_a_close_is_answered
        a_node_takes_so_many_clients
        an_address_has_so_many_clients
        an_address_behind_a_trusted_proxy_is_its_own
        an_address_creates_so_many_channels
        a_client_that_sends_too_fast_is_paused_and_loses_nothing
        there_are_so_many_channels
        a_message_that_is_too_long_is_1009
        a_slow_reader_is_1013_after_the_frame_in_flight
        a_reader_of_a_byte_at_a_time_harms_nobody
        an_answer_that_moves_is_not_cut_off
        an_answer_that_drips_is_cut_off
        without_files_connections_wait_and_the_node_recovers
    }
    auth {
        the_api_token_may_stand_in_any_of_its_places
        a_wrong_api_token_is_401_before_anything_else
        no_spelling_gets_round_a_rule
        rules_guard_what_they_name
        a_request_is_checked_as_all_that_it_does
        a_bearer_counts_for_whichever_token_it_equals
        health_and_preflights_are_never_guarded
        no_token_is_ever_shown
        serving_beyond_loopback_without_auth_is_a_warning
        a_rule_that_covers_nothing_is_a_warning
    }
    close {
        a_close_is_answered_with_its_code
        a_broken_frame_is_1002
        text_that_is_not_utf_8_is_1007
        a_deleted_channel_closes_with_4404
        pings_are_answered
        an_idle_client_is_pinged
        a_silent_client_is_dropped_with_1008
        a_client_that_answers_pings_stays
        a_lost_connection_frees_its_seat
        fragments_are_one_message
        a_client_that_ends_its_side_is_gone_and_what_it_sent_is_not_lost
        a_close_is_answered_to_a_client_that_has_ended_its_side
    }
    browser_only {
        get_creates_and_deletes_channels
        a_wrong_parameter_is_named
        a_foreign_page_changes_nothing
    }
    tls {
        rest_and_websockets_work_by_tls
        certificates_are_read_again_on_sighup
        a_bad_certificate_leaves_the_old_one
        plain_http_on_the_tls_port_harms_nobody
        rubbish_on_the_tls_port_harms_nobody
        a_handshake_that_takes_too_long_is_cut_off
        large_messages_pass_by_tls
        a_drain_by_tls_says_1001
        a_client_that_ends_its_side_by_tls_is_gone
    }
    drain {
        sigterm_closes_clients_with_1001_and_exits_0
        sigint_drains_too
        a_second_signal_exits_at_once
        a_node_that_will_drain_is_not_ready_but_serves
        idle_connections_end_at_once_and_none_is_taken
        a_request_under_way_is_answered
        a_client_that_never_reads_cannot_hold_up_the_exit
    }
    start {
        the_node_says_where_it_listens
        a_node_whose_rings_are_late_starts_and_serves
        a_bad_value_is_one_line_and_exit_2
        a_port_in_use_is_exit_1
        the_cluster_port_in_use_is_exit_1
        the_cluster_port_is_beyond_loopback_only_with_a_secret
        the_node_certificate_is_read_at_start_and_on_sighup
        a_data_directory_is_used_by_one_process
        flags_override_variables
        help_and_version_are_printed
        an_unknown_variable_is_a_warning
        the_theses_spellings_are_accepted
        the_log_can_be_json
    }
    shards {
        connections_are_spread_evenly
        a_channel_spans_all_shards
    }
}
