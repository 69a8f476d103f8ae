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
            writeln!(std::io::stderr(), "\n{:?}: {count} scenarios SKIPPED: {why}", runtime.kind).unwrap();
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
}
