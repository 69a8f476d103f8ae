//! A cluster of real servers, sentence by sentence of the contract: one list of scenarios, run on every server that we
//! have.
//!
//! Each scenario has a cluster of its own, whose nodes run several shards and one in turn, and whose links pass through
//! relays that can cut them. To add one, write a `pub fn name(runtime: &Runtime)` in its group's file and its name in the
//! list. Figures (gaps, times) are printed: `--show-output` shows them.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "see wrs_tests::real"
)]

mod load;

use std::io::Write;
use std::sync::Once;

use wrs_tests::real::{Kind, Runtime};

/// Modules of scenarios, the list of all of them, and a test for each on each server.
macro_rules! scenarios {
    ($($group:ident { $($(#[$mark:meta])* $name:ident)* })*) => {
        $(mod $group;)*

        tests! { smol, Kind::Smol, $($group { $($(#[$mark])* $name)* })* }
        tests! { glommio, Kind::Glommio, $($group { $($(#[$mark])* $name)* })* }
    };
}

macro_rules! tests {
    ($runtime:ident, $kind:expr, $($group:ident { $($(#[$mark:meta])* $name:ident)* })*) => {
        mod $runtime {
            $(mod $group {
                use crate::*;
                $(#[test]
                $(#[$mark])*
                fn $name() {
                    run(Runtime { kind: $kind, shards: 2 }, crate::$group::$name);
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
            let mut past_the_capture = std::io::stderr();
            writeln!(past_the_capture, "\n{:?}: clusters SKIPPED: {why}", runtime.kind).unwrap();
        }),
    }
}

scenarios! {
    forming {
        seeds_found_one_cluster
        a_majority_of_the_seeds_founds_and_the_last_one_joins
        a_minority_of_the_seeds_founds_nothing
        nodes_join_by_rest
        a_node_that_has_joined_serves_at_once
        a_node_with_channels_joins_only_by_force
        what_must_agree_is_refused_and_nothing_is_harmed
        a_join_of_nobody_says_so
        a_node_meets_the_cluster_behind_its_domain
        nodes_that_start_together_behind_one_domain_become_one
        of_two_clusters_behind_one_domain_the_one_without_channels_gives_way
        two_clusters_behind_one_domain_that_both_hold_channels_stay_apart
        a_member_is_removed
        seven_of_nine_nodes_vote_and_all_serve
        both_servers_are_one_cluster
    }
    catalogue {
        a_change_is_everywhere_once_it_is_answered
        channels_survive_their_leader
        channels_come_back_from_disk
        a_node_with_a_disk_comes_back_as_itself
        an_operator_recovers_who_is_left_of_a_lost_majority
        #[cfg(target_os = "linux")] a_full_disk_ends_the_leader_and_the_others_go_on
        #[cfg(target_os = "linux")] a_full_disk_ends_a_follower_and_the_others_go_on
        #[cfg(target_os = "linux")] a_log_that_is_not_made_durable_ends_the_leader_and_the_others_go_on
        #[cfg(target_os = "linux")] a_log_that_is_not_made_durable_ends_a_follower_and_the_others_go_on
        #[cfg(target_os = "linux")] a_snapshot_that_is_not_made_durable_ends_its_node_and_the_others_go_on
        #[cfg(target_os = "linux")] a_snapshot_that_is_not_put_in_place_ends_its_node_and_the_others_go_on
    }
    data {
        pub_sub_gives_each_client_each_message_once_and_in_order
        a_message_after_the_101_arrives
        echo_gives_a_message_back_to_its_sender_alone
        push_pull_is_exact_over_nodes
        fan_in_out_is_exact_over_nodes_and_replies_come_back
        req_repl_asks_all_nodes_and_replies_come_back
        errors_come_back_over_nodes
        clients_and_countdown_are_the_clusters
        a_channel_ends_on_all_nodes
        a_client_limit_is_exact_over_nodes
        messages_cross_links_that_have_tls_and_a_secret
    }
    faults {
        the_leader_is_killed_under_load
        a_follower_is_killed_under_load
        work_is_done_once_or_its_sender_is_told_when_a_home_dies
        a_paused_node_closes_its_clients_and_comes_back
        a_minority_says_so_and_heals
        a_silent_link_is_noticed
        links_that_flap_lose_and_double_nothing
        garbage_at_the_cluster_port_harms_nobody
        a_rolling_restart_loses_no_channel
        a_newcomer_joins_under_load
        work_goes_on_while_a_newcomer_joins
        a_stopped_node_leaves
        nodes_that_stop_together_end_together
        the_last_of_two_goes_on
        an_upgrade_from_node_to_node_loses_nothing
    }
    work {
        push_pull_goes_on_while_a_node_leaves
        push_pull_goes_on_while_the_leader_leaves
        push_pull_goes_on_while_a_node_dies
        push_pull_goes_on_while_a_node_dies_with_its_clients
        push_pull_goes_on_while_a_node_comes
        fan_in_out_goes_on_while_a_node_leaves
        fan_in_out_goes_on_while_the_leader_leaves
        fan_in_out_goes_on_while_a_node_dies
        fan_in_out_goes_on_while_a_node_dies_with_its_clients
        fan_in_out_goes_on_while_a_node_comes
    }
    five {
        five_nodes_outlive_two
    }
    audit {
        #[ignore = "takes minutes; see CONTRIBUTING"] twenty_leaders_are_killed
        #[ignore = "takes a minute; see CONTRIBUTING"] ten_thousand_joins_race_for_ten_seats
        a_rolling_restart_under_load_tells_every_client
    }
}
