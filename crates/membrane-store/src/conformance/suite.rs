//! The list of cases, and how one is run.

use std::sync::Arc;

use crate::{Store, StoreError};

/// Runs one case on a fresh store, then asks the store whether it agrees with itself, and closes it.
///
/// # Panics
/// When the case fails, or the store's check finds something.
pub async fn run<F: Future<Output = ()>>(store: Arc<dyn Store>, case: impl FnOnce(Arc<dyn Store>) -> F) {
    case(Arc::clone(&store)).await;
    match store.check().await {
        Ok(findings) => assert_eq!(findings, Vec::<String>::new(), "the store contradicts itself"),
        // The case closed it.
        Err(StoreError::Closed) => return,
        Err(error) => panic!("the check itself failed: {error:?}"),
    }
    if let Err(error) = store.close().await {
        panic!("closing failed: {error:?}");
    }
}

/// Makes one test of each case, in a module per room.
///
/// `$make_store` names an async function without arguments that gives a fresh, empty store and a guard,
/// which is dropped after the store: `async fn make() -> (Arc<dyn Store>, Guard)`. The calling crate
/// needs tokio with `macros`.
#[macro_export]
macro_rules! conformance_tests {
    ($make_store:path) => {
        $crate::conformance_room!($make_store, sessions:
            a_new_session_has_its_names_and_nothing_else
            a_session_may_be_older_than_the_change_that_creates_it
            legacy_observations_count_in_a_new_session
            a_taken_id_is_refused_and_its_session_stays
            looking_up_what_is_not_there_finds_nothing
            an_empty_store_lists_counts_and_holds_nothing
            a_patch_changes_only_what_it_names
            an_empty_patch_and_no_turns_write_nothing
            a_version_rises_by_one_per_change_however_many_writes
            a_receipt_names_what_was_written_not_what_was_looked_at
            activity_follows_the_turns_and_never_goes_back
            a_crystal_is_saved_and_replaced
            stats_count_what_is_shown_and_what_is_stored
            a_closed_store_refuses_every_call
        );
        $crate::conformance_room!($make_store, past:
            a_session_gets_the_past_that_an_old_file_knew
            what_an_old_file_held_is_kept_and_goes_with_its_session
            a_legacy_turn_observes_nothing_whatever_is_said_of_it
        );
        $crate::conformance_room!($make_store, requirements:
            a_stale_version_is_a_conflict_that_names_both
            what_the_state_does_not_allow_is_refused_with_the_state
            a_session_sees_its_own_cut_and_less_but_no_more
            a_checkpoint_is_required_of_its_own_session
            a_cut_is_intact_while_all_its_turns_are_there
            requirements_are_checked_in_order_and_before_any_write
            writing_to_what_is_not_there_names_it
            a_change_whose_last_write_fails_leaves_nothing_at_all
        );
        $crate::conformance_room!($make_store, turns:
            a_turn_comes_back_with_all_that_it_holds
            each_turn_carries_the_totals_after_it
            appending_in_place_keeps_the_history
            ranges_are_cut_to_what_is_there
            the_order_of_time_is_the_order_of_turns_whatever_the_clock_did
            a_segment_may_begin_while_the_clock_has_gone_back
            marks_tell_place_and_running_totals
            many_turns_in_one_change_keep_their_order
        );
        $crate::conformance_room!($make_store, located:
            the_two_parts_of_a_thread_make_the_thread
            each_page_of_a_whole_stretch_has_its_last_turn_as_witness
            a_turn_that_is_gone_has_no_place_and_is_not_loaded
            what_is_said_of_a_turn_shows_at_the_next_look
            looking_for_what_was_never_there_finds_nothing
            a_keep_goes_by_one_name
        );
        $crate::conformance_room!($make_store, forks:
            a_fork_sees_the_prefix_and_copies_no_turn
            a_fork_and_its_parent_go_their_own_ways
            a_forks_first_append_opens_a_segment_and_the_next_goes_in_place
            the_last_user_of_a_history_takes_it_along
            forks_of_forks_read_from_each_ancestor
            a_fork_takes_the_legacy_observations_along
            a_family_is_listed_with_its_dead
        );
        $crate::conformance_room!($make_store, rewinds:
            a_rewind_takes_turns_and_totals_back_and_leaves_a_checkpoint
            restoring_a_rewinds_checkpoint_undoes_it
            appending_after_a_rewind_goes_another_way
            a_session_that_comes_back_to_its_end_appends_in_place_again
            coming_back_inside_or_to_anothers_end_never_appends_in_place
            an_identity_is_never_used_twice_even_after_its_turn_was_deleted
            only_the_newest_automatic_checkpoints_are_kept
            a_clock_that_runs_backwards_prunes_the_oldest_made_all_the_same
            a_move_refuses_a_checkpoint_id_that_is_taken
        );
        $crate::conformance_room!($make_store, merges:
            a_merge_shows_both_and_marks_its_sources
            an_interleaved_merge_alternates_between_segments
            a_merge_is_appended_to_in_a_segment_of_its_own
            a_merge_of_nothing_is_empty_and_can_go_on
            merging_unites_the_legacy_observations
            merging_a_fork_into_its_source_adds_nothing
        );
        $crate::conformance_room!($make_store, checkpoints:
            a_named_checkpoint_comes_back_as_it_was_made
            checkpoints_are_listed_in_the_order_of_making_last_first
            a_taken_checkpoint_id_is_refused
            a_deleted_checkpoint_is_gone_and_only_its_own_session_may_delete_it
            deleting_a_checkpoint_removes_what_nothing_else_reaches
            a_named_checkpoint_keeps_a_deleted_parents_turns
            an_automatic_checkpoint_keeps_nothing_of_a_deleted_session
            an_automatic_checkpoint_of_a_living_owner_keeps_its_turns
        );
        $crate::conformance_room!($make_store, deletes:
            deleting_the_only_session_leaves_nothing
            the_writer_of_a_deleted_sessions_run_must_stop
            a_fork_outlives_its_parent_whole
            deleting_a_fork_leaves_its_parent_whole
            deleting_the_middle_of_a_chain_of_forks_hurts_nobody
            what_a_rewound_session_left_behind_goes_with_it
            an_owned_segment_may_lie_behind_the_place_where_its_owner_stands
            tombstones_stay_until_the_last_of_the_family_goes
            an_id_that_comes_back_is_no_longer_dead_and_owns_nothing_old
            one_change_may_delete_and_create
            a_turn_that_a_merge_shows_stays
            a_cut_inside_a_deleted_owners_segment_can_be_moved_to
        );
        $crate::conformance_room!($make_store, signals:
            signals_come_back_with_their_turn_oldest_first
            a_signal_touches_neither_version_nor_activity
            the_latest_signal_counts_and_the_latest_is_the_one_added_last
            only_an_observed_success_can_be_turned
            every_session_that_holds_the_turn_follows_at_once
            who_comes_later_to_a_turned_turn_counts_it_too
            a_rewind_takes_its_evidence_back_and_a_restore_brings_it
            loading_a_part_counts_the_turned_ones_before_it
            signals_go_with_their_turn
        );
        $crate::conformance_room!($make_store, runs:
            a_run_is_durable_before_its_turn_and_outside_of_it
            a_begun_runs_receipt_tells_version_and_turns_and_a_replay_the_same
            a_run_begun_beside_other_writes_raises_no_version_more_than_they_do
            a_second_run_is_told_since_when_the_first_is_open
            pieces_come_back_in_order_from_any_number
            pieces_that_do_not_go_on_are_somebody_elses
            finishing_a_run_makes_its_turn_and_ends_it
            only_the_leases_token_may_write
            a_run_that_waits_for_a_tool_holds_no_lease
            a_long_lease_does_not_expire
            an_expired_lease_is_its_owners_until_somebody_takes_over
            a_renewed_lease_lasts_from_the_renewal
            a_dead_owners_runs_can_be_taken_at_once
            stale_runs_come_oldest_first_and_no_more_than_asked_for
            an_owner_of_several_runs_is_listed_once
            a_run_does_not_stop_what_else_a_session_allows
            a_run_on_a_fork_finishes_into_a_segment_of_its_own
        );
        $crate::conformance_room!($make_store, shared_runs:
            a_run_tells_at_which_version_of_its_session_it_began
            a_request_to_stop_reaches_the_owner_alone_and_goes_with_the_run
            how_the_last_run_came_is_known_until_the_next_or_until_it_is_forgotten
            how_a_run_came_goes_with_its_session
            only_a_run_that_waits_takes_what_is_said_to_its_tools
            every_kind_of_piece_is_kept_in_a_log
        );
        $crate::conformance_room!($make_store, stats:
            text_that_forks_share_is_shown_often_and_stored_once
            everything_that_is_kept_is_counted
            growth_is_told_by_the_days_on_which_things_began
        );
        $crate::conformance_room!($make_store, gauges:
            gauges_agree_with_stats_after_every_kind_of_change
            a_refused_change_moves_no_gauge
            gauges_are_exact_after_many_changes_at_once
            a_store_at_rest_has_an_empty_queue
        );
        $crate::conformance_room!($make_store, instances:
            who_is_held_is_alive_and_who_was_never_held_is_dead
            the_dead_come_in_the_order_of_asking
            holding_again_changes_nothing
            instances_of_any_id_are_told_apart
            many_may_be_held_at_once_while_others_look
        );
        $crate::conformance_room!($make_store, leaders:
            a_role_that_nobody_has_is_taken_and_then_refused_to_others
            taking_a_role_again_makes_its_lease_last_from_then_on
            an_expired_lead_is_anybodys_by_the_stores_clock
            a_lead_that_is_given_up_is_anybodys_at_once
            the_lead_of_an_instance_that_is_known_to_be_dead_is_taken_at_once
            a_change_that_fails_takes_and_gives_up_no_lead
            of_many_that_ask_at_once_exactly_one_leads
        );
        $crate::conformance_room!($make_store, keys:
            second_send_with_same_key_returns_first_answer
            a_known_key_is_answered_before_any_requirement
            another_body_under_the_same_key_is_refused
            a_key_counts_for_its_route_and_session_alone
            a_change_that_fails_remembers_no_key
            a_key_is_forgotten_after_its_lifetime_and_not_before
            keys_made_before_a_time_can_be_forgotten
            keys_go_with_the_session_they_are_about
            keys_go_with_every_session_that_their_change_created
            an_overwritten_key_goes_with_its_new_session_alone
            a_deletion_can_be_replayed
            a_replay_names_sessions_that_are_gone_by_now
        );
        $crate::conformance_room!($make_store, events:
            each_write_makes_its_event_with_the_version_after_it
            an_event_tells_when_its_change_was_made
            a_runs_way_is_told_and_its_pieces_are_not
            a_signal_is_told_of_every_session_that_holds_the_turn
            a_change_of_many_writes_tells_one_of_a_kind_with_its_last_version
            what_changes_nothing_tells_nothing
            events_come_in_pages_of_any_size
            a_place_of_other_data_is_no_place_to_go_on_from
            who_went_away_before_events_were_forgotten_is_told_to_start_over
            forgetting_does_a_bit_at_a_time
            who_waits_is_woken_by_a_commit
            who_waits_when_the_store_is_closed_is_told_so
            a_reader_that_follows_many_writers_sees_each_event_once_in_order
        );
        $crate::conformance_room!($make_store, lists:
            the_newest_comes_first_and_ties_go_by_id_byte_by_byte
            filters_hold_for_the_page_the_total_and_the_count
            a_filter_follows_what_a_session_is_called_now
            pages_by_cursor_and_by_offset_show_each_session_once
            odd_pages_are_empty_not_wrong
            a_cursor_wins_over_an_offset_and_outlives_its_session
            a_session_that_goes_on_comes_first
        );
        $crate::conformance_room!($make_store, text:
            turns_hold_any_text
            names_hold_any_text
            checkpoints_crystals_and_signals_hold_any_text
            runs_and_keys_hold_any_text
            ids_of_any_form_are_kept_and_told_apart
            a_message_of_four_mebibytes_is_a_message
            json_comes_back_as_it_was_written
        );
        $crate::conformance_room!($make_store, limits:
            ten_thousand_turns_load_page_fork_rewind_and_delete
            a_hundred_thousand_sessions_are_listed_counted_and_paged
            paging_neither_skips_nor_repeats_while_sessions_are_added
            a_chain_of_a_hundred_forks_reads_as_one_thread
            a_thousand_forks_of_one_session_share_its_turns
        );
        $crate::conformance_room!($make_store, races:
            of_many_deletions_exactly_one_succeeds
            a_fork_beside_a_deletion_is_whole_or_refused
            a_merge_beside_a_deletion_is_whole_or_refused
            a_restore_beside_its_sessions_deletion_brings_nothing_back
            a_restore_beside_the_owners_deletion_has_all_turns_or_says_what_is_left
            an_append_beside_a_deletion_leaves_nothing
            sixty_four_appenders_lose_nothing_and_keep_their_order
            a_forks_first_appends_at_once_share_one_segment
            of_two_writers_at_one_version_exactly_one_succeeds
            of_many_runs_begun_at_once_exactly_one_is_open
            a_turn_closed_by_its_owner_and_by_another_at_once_is_there_once
            one_key_sent_many_times_at_once_is_done_once
            forks_beside_appends_in_place_are_never_refused
            a_signal_on_a_turn_that_is_forked_all_the_time_gets_through
            appends_to_forks_beside_signals_on_their_turn_are_each_there_once
            moves_of_one_version_at_once_leave_one_checkpoint
            readers_see_whole_changes_only
            a_dropped_commit_leaves_all_or_nothing
        );
        $crate::conformance_room!($make_store, chaos:
            many_writers_of_every_kind_leave_a_keep_that_agrees_with_itself
        );
    };
}

/// One room of [`conformance_tests!`].
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_room {
    ($make_store:path, $room:ident: $($case:ident)+) => {
        mod $room {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() {
                    let (store, _guard) = $make_store().await;
                    $crate::conformance::run(store, $crate::conformance::$room::$case).await;
                }
            )+
        }
    };
}
