//! Tests of crashes, limits and leaks, for replicas of every kind. Each is a function of a round; one that is
//! not in the table is never run, which the compiler tells.

macro_rules! in_every_round {
    ($($table:tt)*) => {
        in_round!(created Created $($table)*);
        in_round!(claimed Claimed $($table)*);
        in_round!(forked Forked $($table)*);
        in_round!(image Image $($table)*);
    };
}

macro_rules! in_round {
    ($name:ident $round:ident $($module:ident { $($test:ident,)* })*) => {
        mod $name {
            $(mod $module {
                $(#[test]
                fn $test() {
                    crate::$module::$test(dormouse_tests::Round::$round);
                })*
            })*
        }
    };
}

in_every_round! {
    bombs {
        of_threads,
        of_memory_at_once,
        of_memory_little_by_little,
        of_files_without_content,
        a_crash_and_a_kill_are_no_shortage,
        of_temporary_files_ends_where_they_may_not_grow,
        of_page_cache_costs_nobody_else,
        of_descriptors,
        of_processor_time_is_replaced,
        one_that_stands_still_is_replaced,
        one_that_takes_connections_and_reads_nothing_is_replaced,
        of_memory_while_loading,
        of_threads_while_loading,
        of_time_while_loading,
        of_output_while_loading_is_only_slow,
        of_lines_is_capped,
        of_one_endless_line_is_capped,
        of_every_byte_is_capped,
        of_escapes_drives_no_terminal,
    }
    crash {
        a_crash_costs_its_request_and_the_next_one_works,
        those_that_answer_nothing_one_after_the_other_are_held_off,
        out_of_memory_is_told_from_a_crash,
        an_answer_that_breaks_off_is_seen_to,
        all_requests_of_a_dead_replica_fail_at_once,
        failing_starts_back_off_longer_each_time,
        a_replica_that_ignores_sigterm_ends_all_the_same,
        the_daemon_ends_with_replicas_that_ignore_sigterm,
        minimum_replicas_come_back,
    }
    crash_safety {
        a_full_disk_refuses_deploys_and_nothing_else,
        a_full_run_directory_costs_new_replicas_only,
        a_replica_whose_log_cannot_be_written_goes_on,
        a_node_without_descriptors_answers_when_it_has_some,
        a_spawner_without_descriptors_says_so_and_goes_on,
    }
    deadlines {
        time_that_runs_out_in_the_inference,
        time_that_runs_out_in_the_queue,
        time_that_runs_out_in_the_start,
        a_replica_that_never_gets_ready_is_given_up,
        a_full_queue_refuses_at_once,
        memory_that_others_hold_is_told_after_the_deadline,
        a_delete_drains_and_refuses_meanwhile,
    }
    freezing {
        requests_about_the_moment_of_freezing_are_all_answered_by_one_replica,
        a_request_that_comes_while_a_freeze_does_not_end_is_answered,
        a_freeze_that_does_not_end_is_given_up_and_told,
    }
    herd {
        two_hundred_first_requests_share_the_starts,
        replicas_follow_the_load_up_and_down,
        endpoints_of_three_times_the_memory_all_answer,
    }
    idle {
        nothing_wakes_up_where_every_endpoint_is_at_zero,
    }
    logs {
        a_log_outlives_its_replica_and_is_capped,
        a_log_can_be_followed,
    }
    node_restart {
        a_killed_node_costs_only_what_was_in_flight,
        a_node_finds_frozen_replicas_and_wakes_them,
        requests_in_the_kernels_queue_outlive_the_node,
        a_dead_spawner_takes_its_node_along_and_the_next_start_sweeps,
        what_was_deployed_outlives_the_daemon,
        sigterm_lets_running_requests_finish,
        a_second_signal_does_not_wait_for_requests,
        a_deploy_that_loses_its_node_leaves_nothing,
    }
}
