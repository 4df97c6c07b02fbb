//! Confined replicas through the real door: a daemon whose spawner is the one under test.
//!
//! This one program is everything around it, as [`dormouse_driver`] tells.
//!
//! Needs root, ONNX Runtime's library and nothing of the network.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod commands;
mod creation;
mod disks;
mod egress;
mod ending;
mod image_calls;
mod image_replicas;
mod images;
mod inside;
mod layer_endings;
mod layers;
mod life;
mod limits;
mod pool;
mod protocol;
mod restart;
mod start;
mod system_calls;
mod templates;
mod volumes;
mod worker;

use std::process::ExitCode;

use dormouse_driver::{node, suite, tests};

const TESTS: &[suite::Test] = tests![
    inside::no_rights_are_left,
    inside::only_what_belongs_is_open,
    inside::the_network_is_empty,
    inside::the_root_is_its_own_and_read_only,
    inside::tmp_has_an_end_and_runs_nothing,
    inside::dev_is_exactly_this,
    inside::proc_tells_little,
    inside::what_was_inherited_is_exactly_this,
    system_calls::exactly_the_list_is_reachable,
    system_calls::what_opens_the_kernel_is_out_of_reach,
    system_calls::conditions_are_kept,
    system_calls::code_cannot_be_written_through_proc,
    system_calls::other_entrances_are_closed,
    system_calls::a_process_can_end_itself,
    limits::are_in_the_control_group,
    limits::of_processes_and_memory_hold,
    limits::of_devices_are_read_back,
    limits::of_open_files_is_raised_and_counted,
    life::endpoints_never_share_a_uid,
    life::a_connection_to_a_frozen_replica_waits,
    life::a_wait_goes_on_after_a_thaw,
    life::a_frozen_replica_is_stopped,
    life::stop_asks_then_kills,
    life::stop_reaches_a_replica_that_is_being_made,
    life::a_crash_is_told_from_an_excess_of_memory,
    life::one_process_out_of_memory_ends_all,
    life::a_model_that_does_not_load_tells_why,
    life::a_payload_may_die_at_once,
    life::a_worker_has_one_word,
    life::a_worker_that_lies_about_its_loading_is_not_ready,
    life::nothing_is_left_of_a_replica,
    creation::of_an_unknown_model_fails,
    creation::follows_no_link_in_the_store,
    creation::of_an_id_in_use_is_refused,
    creation::what_names_no_replica_is_refused,
    pool::a_blank_becomes_a_replica_where_it_is,
    pool::what_does_not_fit_is_created,
    pool::a_dead_blank_is_replaced_and_costs_nobody_a_replica,
    pool::a_burst_takes_what_there_is_and_the_rest_is_created,
    pool::blanks_outlive_the_node,
    templates::servers_serve_each_in_its_own_group,
    templates::a_crashed_server_is_told_and_forked_again,
    templates::a_server_out_of_memory_ends_alone,
    templates::a_killed_template_takes_its_servers_along,
    templates::a_stopped_template_takes_its_servers_along,
    templates::what_is_no_template_of_it_forks_nothing,
    templates::a_server_that_does_not_load_says_why,
    templates::a_server_that_is_not_confined_does_not_serve,
    templates::a_server_that_lies_about_its_loading_is_ended,
    templates::a_template_that_breaks_the_contract_is_ended,
    templates::a_template_that_moves_in_with_a_server_ends_with_it,
    templates::stop_reaches_a_server_that_is_being_forked,
    templates::nothing_is_left_of_a_server,
    templates::the_server_that_was_forked_ahead_serves_next,
    templates::one_that_ended_while_it_waited_costs_nobody_anything,
    templates::a_request_names_a_template_by_its_id_alone,
    restart::a_killed_node_finds_its_replicas,
    restart::what_a_node_leaves_behind_ends_with_it,
    restart::no_connection_is_lost_without_a_node,
    restart::a_node_that_does_not_say_hello_is_replaced,
    restart::a_node_of_another_version_is_replaced,
    restart::a_node_that_breaks_the_protocol_is_replaced,
    restart::a_node_killed_by_any_signal_is_replaced,
    ending::on_sigterm_everything_goes,
    ending::a_second_signal_does_not_wait,
    ending::the_drain_deadline_is_kept,
    ending::what_a_killed_daemon_left_is_swept,
    ending::a_deploy_that_fails_ends_the_daemon,
    ending::a_deploy_ends_with_the_daemon,
    protocol::what_is_no_message_ends_the_node_and_nothing_else,
    protocol::no_descriptor_is_taken,
    protocol::ids_of_living_and_dying_replicas_are_taken,
    protocol::limits_end_at_the_policy,
    protocol::memory_is_counted_until_nothing_is_left,
    protocol::a_flood_holds_up_nobody,
    protocol::storms_of_freezes_and_stops_end,
    protocol::a_node_that_never_reads_is_replaced,
    protocol::a_uid_is_not_given_away_while_a_replica_lives,
    protocol::names_use_up_no_uids,
    protocol::a_node_has_an_end_of_processes,
    protocol::a_node_cannot_end_the_daemon,
    protocol::the_longest_grace_is_a_grace,
    protocol::what_a_worker_says_is_one_line,
    layers::a_tree_is_what_its_archive_says,
    layers::opaque_directories_have_no_end,
    layers::links_up_are_found_while_others_rename,
    layers::what_is_left_out_is_told,
    layers::later_entries_take_the_place_of_earlier_ones,
    layers::links_lead_to_places_of_the_tree,
    layers::what_is_refused_leaves_nothing,
    layers::every_compression_makes_the_same_tree,
    layers::bytes_are_those_that_were_asked_for,
    layers::a_blob_is_the_stores_own_file,
    layers::an_exchanged_store_of_blobs_leads_nowhere,
    layers::what_is_asked_again_is_told_at_once,
    layers::some_at_a_time_and_all_in_the_end,
    layer_endings::a_removed_layer_can_be_unpacked_again,
    layer_endings::a_killed_unpacking_says_so_and_leaves_nothing,
    layer_endings::what_a_killed_daemon_left_of_layers_is_swept,
    layer_endings::a_record_that_cannot_be_read_keeps_its_layer,
    layer_endings::a_daemon_that_ends_does_not_wait_for_a_layer,
    layer_endings::the_process_that_reads_has_no_rights,
    images::a_web_server_answers_over_a_socket_that_was_passed,
    images::users_are_numbers_and_names_of_the_image,
    images::roots_rights_end_at_its_container_and_others_have_none,
    images::what_is_written_has_an_end_and_goes_with_the_replica,
    images::a_read_only_root_can_be_written_to_nowhere_but_in_tmp,
    images::replicas_have_ids_of_their_own_and_files_look_the_same,
    images::the_network_is_a_loopback_and_every_port_is_free,
    images::standard_streams_can_be_opened_by_name,
    images::links_of_an_image_lead_no_mount_astray,
    images::layers_hide_what_is_below_and_as_many_as_may_are_mounted,
    images::its_own_control_group_can_be_read_and_no_other,
    images::which_processors_there_are_can_be_read,
    image_calls::the_list_names_calls_that_there_are,
    image_calls::calls_are_refused_or_missing_as_listed,
    image_calls::python_serves_from_layers_that_hide,
    image_replicas::sockets_are_of_running_processes_of_images_alone,
    image_replicas::the_daemon_is_where_it_was_and_holds_nothing_of_the_dead,
    image_replicas::a_flood_of_sockets_has_an_end,
    image_replicas::a_connection_to_a_frozen_process_waits,
    image_replicas::the_images_signal_ends_it_and_else_the_grace,
    image_replicas::what_cannot_be_executed_is_named,
    image_replicas::a_layer_stays_while_a_replica_uses_it,
    image_replicas::a_restarted_node_reaches_it_again,
    image_replicas::limits_hold_for_it_as_for_a_worker,
    commands::how_one_ended_is_told_with_what_it_printed,
    commands::one_has_no_more_rights_than_the_process_that_it_is_beside,
    commands::one_that_does_not_end_is_killed_with_those_it_began,
    commands::another_order_ends_the_one_before,
    commands::what_runs_them_is_out_of_the_images_reach,
    commands::they_are_of_the_replica_and_not_of_the_node_that_asks,
    image_replicas::without_ranges_all_images_share_their_files_ids,
    image_replicas::one_after_the_other_is_made_beside_workers,
    volumes::files_belong_to_who_runs_and_cannot_be_changed,
    volumes::one_file_stands_among_those_of_the_image,
    volumes::memory_has_an_end_and_is_gone_with_its_replica,
    volumes::places_are_found_as_the_image_has_them,
    volumes::contents_that_the_node_did_not_write_are_refused,
    volumes::what_is_written_to_a_lent_directory_is_its_owners,
    volumes::a_lent_file_stands_among_those_of_the_image,
    volumes::only_what_is_lent_is_mounted_and_as_it_is_lent,
    disks::hold_so_much_and_are_gone_with_their_replica,
    disks::what_the_disk_has_no_room_for_is_told,
    egress::reaches_what_the_node_reaches_by_address_and_by_name,
    egress::does_not_reach_the_node,
    egress::its_helper_reaches_no_group_by_another_spelling,
    egress::its_helper_is_confined_and_ends_with_it,
    egress::where_one_helper_fails_the_other_is_taken,
    egress::where_all_fail_it_is_told_what_they_said,
    start::one_daemon_a_run_directory,
    start::one_daemon_a_data_directory,
    start::uids_of_the_machine_are_not_taken,
    start::needs_root,
    start::names_what_is_missing,
    start::a_taken_port_is_told,
];

/// What holds of a replica however it came to be. The others count descriptors or uids, of which
/// blanks have their own, or are about none.
const CLAIMED: &[&str] = &[
    "inside::",
    "system_calls::",
    "limits::are_in",
    "limits::of_processes",
    "limits::of_devices",
    "life::a_",
    "life::stop_asks",
    "life::nothing_is_left",
    "creation::",
    "restart::a_killed_node",
    "restart::no_connection",
    "ending::",
    "protocol::ids_of",
    "protocol::limits_end",
    "protocol::storms",
    "protocol::what_a_worker",
];

/// What holds of a server that was forked of a template as well.
const FORKED: &[&str] = &[
    "inside::",
    "system_calls::exactly",
    "system_calls::what_opens",
    "system_calls::code",
    "system_calls::other",
    "system_calls::a_process",
    "limits::are_in",
    "limits::of_processes",
    "limits::of_devices",
    "life::a_connection",
    "life::a_wait",
    "life::a_frozen",
    "life::a_crash",
    "life::a_model",
    "life::a_payload",
    "life::a_worker_has",
    "life::stop_asks",
    "life::nothing_is_left",
    "restart::a_killed_node",
    "restart::no_connection",
    "ending::",
    "protocol::ids_of",
    "protocol::limits_end",
    "protocol::storms",
    "protocol::what_a_worker",
];

const SUITE: suite::Suite = suite::Suite { tests: TESTS, claimed: CLAIMED, forked: FORKED };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("daemon") => dormouse_driver::run_daemon!(dormouse_sandbox, &arguments),
        Some("node") => node::main(),
        Some("worker") => worker::main(),
        Some("resolver") => egress::resolver(),
        Some("answer") => worker::answer_once(&arguments[1]),
        Some("deploy") => ending::companion(&arguments),
        Some("--list") => suite::list(SUITE),
        _ => suite::run(SUITE, &arguments),
    }
}
