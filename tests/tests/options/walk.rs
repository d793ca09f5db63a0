//! The walk: every option that is documented, and the test that proves what it does to a running daemon.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::daemon::{Relay, relay_binary};

/// File, test in it, options whose effect it proves.
#[rustfmt::skip]
const PROOFS: &[(&str, &str, &[&str])] = &[
    ("rtpengine/src/netfilter/tests.rs", "a_chain_of_its_own_or_none_at_all_can_lead_to_it", &["nftables-base-chain"]),
    ("rtpengine/src/netfilter/tests.rs", "each_open_port_has_a_rule_until_it_is_closed", &["iptables-chain"]),
    ("rtpengine/src/netfilter/tests.rs", "the_rule_stands_where_it_was_asked_for", &["nftables-append"]),
    ("tests/tests/announcements.rs", "a_blob_and_a_row_of_sqlite_are_played", &["sqlite-db"]),
    ("tests/tests/announcements.rs", "a_url_is_played_if_it_is_allowed", &["media-urls"]),
    ("tests/tests/announcements.rs", "clients_over_tcp_are_told_when_an_announcement_ends", &["playback-events-ng-tcp"]),
    ("tests/tests/audio_player.rs", "play_media_mode_mixes_from_the_first_announcement_on", &["audio-buffer-delay"]),
    ("tests/tests/audio_player.rs", "the_stream_goes_on_in_silence_and_from_the_answer_on", &["audio-player"]),
    ("tests/tests/control.rs", "a_busy_control_port_is_a_start_up_error", &["listen-ng"]),
    ("tests/tests/control.rs", "a_call_without_media_ends_after_the_time_out", &["timeout"]),
    ("tests/tests/control.rs", "max_sessions_refuses_new_calls_and_lets_running_ones_go_on", &["max-sessions"]),
    ("tests/tests/control.rs", "start_up_mistakes_are_named_and_fatal", &["interface", "port-min", "port-max"]),
    ("tests/tests/doctor.rs", "a_configuration_can_be_checked_without_a_start", &["check-config"]),
    ("tests/tests/doctor.rs", "faults_of_the_configuration_and_the_network_are_named", &["table"]),
    ("tests/tests/doors.rs", "calls_can_be_made_over_tcp_with_many_requests_in_one_segment", &["listen-tcp-ng"]),
    ("tests/tests/doors.rs", "http_alone_is_enough_to_start", &["listen-http"]),
    ("tests/tests/doors.rs", "http_connections_are_kept_until_they_are_idle_or_stall", &["http-idle-timeout"]),
    ("tests/tests/doors.rs", "https_and_secure_websockets_show_the_certificate_and_its_renewal", &["listen-https", "https-cert", "https-key"]),
    ("tests/tests/dtmf.rs", "audio_goes_on_beside_digits_when_that_is_wanted", &["dtmf-no-suppress"]),
    ("tests/tests/evs.rs", "silence_that_is_not_sent_is_filled_in_natively_or_with_noise", &["evs-dtx"]),
    ("tests/tests/evs.rs", "speech_passes_between_pcma_and_evs", &["evs-lib-path"]),
    ("tests/tests/flows.rs", "digits_are_told_about_in_json", &["dtmf-log-dest"]),
    ("tests/tests/flows.rs", "digits_are_told_to_ng_clients_over_tcp", &["dtmf-log-ng-tcp"]),
    ("tests/tests/handover.rs", "no_packet_is_lost_while_the_daemon_is_replaced", &["handover-socket"]),
    ("tests/tests/janus.rs", "publishers_and_subscribers_are_joined_in_a_room", &["janus-secret"]),
    ("tests/tests/kernel_player.rs", "there_are_no_more_players_than_are_allowed_and_all_hear_it", &["kernel-player", "kernel-player-media"]),
    ("tests/tests/legacy.rs", "mediaproxy_call_has_all_its_streams_in_one_request", &["listen-tcp"]),
    ("tests/tests/legacy.rs", "rtpproxy_streams_are_numbered_moved_held_and_switched_off", &["listen-udp"]),
    ("tests/tests/lrkp.rs", "a_session_relays_on_the_ports_that_the_proxy_chose", &["listen-lrkp", "lrkp-port-min", "lrkp-port-max"]),
    ("tests/tests/lrkp.rs", "nonsense_is_not_answered_and_a_full_node_does_not_answer_pings", &["lrkp-strict-ports"]),
    ("tests/tests/lrkp.rs", "the_proxy_is_told_which_addresses_are_inside_and_outside", &["lrkp-internal", "lrkp-external"]),
    ("tests/tests/media_database.rs", "media_are_fetched_kept_read_again_and_expire", &["player-cache", "preload-db-media", "db-media-cache", "preload-db-cache", "db-cache-expire", "expiry-timer", "mysql-host", "mysql-port", "mysql-user", "mysql-pass", "mysql-query"]),
    ("tests/tests/media_database.rs", "media_are_read_again_and_dropped_by_the_clock", &["db-media-reload", "db-media-expire", "db-cache-reload", "cache-media-reload"]),
    ("tests/tests/mqtt.rs", "each_section_has_a_message_with_rates_in_scope_media", &["mqtt-publish-scope"]),
    ("tests/tests/mqtt.rs", "statistics_with_all_calls_are_published_and_again_after_the_broker_was_away", &["mqtt-host", "mqtt-port", "mqtt-publish-topic", "mqtt-publish-interval", "mqtt-publish-qos"]),
    ("tests/tests/mqtt.rs", "the_broker_is_authenticated_by_its_certificate_and_we_by_ours", &["mqtt-cafile", "mqtt-certfile", "mqtt-keyfile"]),
    ("tests/tests/music_on_hold.rs", "music_ends_after_the_configured_time", &["moh-max-duration"]),
    ("tests/tests/netfilter.rs", "actions_say_what_came_of_them", &["nftables-chain", "nftables-family", "xtables", "nftables-start", "nftables-stop", "nftables-status"]),
    ("tests/tests/shield.rs", "a_flood_at_a_stream_in_user_space_is_dropped_and_the_call_goes_on", &["offload", "offload-delay"]),
    ("tests/tests/options/actions.rs", "the_codecs_are_listed", &["codecs", "codecs-json"]),
    ("tests/tests/options/actions.rs", "the_process_goes_to_the_background_unless_told_otherwise", &["pidfile", "foreground"]),
    ("tests/tests/options/actions.rs", "without_the_kernel_there_is_no_start_when_that_is_wanted", &["no-fallback"]),
    ("tests/tests/options/dtls.rs", "no_datagram_of_a_handshake_is_larger_than_configured", &["dtls-mtu"]),
    ("tests/tests/options/dtls.rs", "only_configured_ciphers_are_used", &["dtls-ciphers"]),
    ("tests/tests/options/dtls.rs", "the_certificate_is_as_configured", &["dtls-cert-cipher", "dtls-rsa-key-size", "dtls-signature"]),
    ("tests/tests/options/dtls.rs", "the_passive_role_is_taken_when_that_is_wanted", &["dtls-passive"]),
    ("tests/tests/options/logging.rs", "each_subsystem_has_a_level", &["log-level-core", "log-level-ffmpeg", "log-level-internals", "log-level-spandsp", "log-level-transcoding", "log-level-codec", "log-level-rtcp", "log-level-ice", "log-level-crypto", "log-level-srtp", "log-level-http", "log-level-control", "log-level-dtx"]),
    ("tests/tests/options/logging.rs", "levels_decide_what_is_in_the_log", &["log-level"]),
    ("tests/tests/options/logging.rs", "lines_have_a_time_unless_that_is_not_wanted", &["no-log-timestamps"]),
    ("tests/tests/options/logging.rs", "long_lines_are_cut", &["max-log-line-length"]),
    ("tests/tests/options/logging.rs", "messages_of_several_lines_are_split_when_that_is_wanted", &["split-logs"]),
    ("tests/tests/options/logging.rs", "the_context_of_a_line_can_be_made_for_programs", &["log-format"]),
    ("tests/tests/options/logging.rs", "the_log_goes_to_syslog_under_the_configured_name_and_facility", &["log-facility", "log-name", "log-stderr"]),
    ("tests/tests/options/logging.rs", "what_is_sensitive_has_marks_around_it", &["log-mark-prefix", "log-mark-suffix"]),
    ("tests/tests/options/main.rs", "further_addresses_of_an_interface_can_be_left_alone", &["save-interface-ports"]),
    ("tests/tests/options/media.rs", "a_slow_clock_is_followed_when_that_is_wanted", &["jb-clock-drift"]),
    ("tests/tests/options/media.rs", "digits_of_our_own_are_reported_unless_that_is_not_wanted", &["dtmf-no-log-injects"]),
    ("tests/tests/options/media.rs", "media_files_are_read_again_and_dropped_in_time", &["preload-media-files", "media-files-reload", "media-files-expire"]),
    ("tests/tests/options/media.rs", "music_on_hold_is_repeated_as_often_as_configured_and_announced", &["moh-max-repeats", "moh-attr-name"]),
    ("tests/tests/options/media.rs", "packets_that_pile_up_are_played_faster_or_dropped", &["dtx-buffer", "dtx-lag", "dtx-shift"]),
    ("tests/tests/options/media.rs", "pauses_of_amr_are_filled_in_as_configured", &["amr-dtx"]),
    ("tests/tests/options/media.rs", "silence_becomes_the_configured_noise_for_who_takes_it", &["silence-detect", "cn-payload"]),
    ("tests/tests/options/media.rs", "silence_that_is_not_sent_is_filled_in_for_the_configured_time", &["dtx-delay", "max-dtx", "dtx-cn-params"]),
    ("tests/tests/options/media.rs", "the_buffer_of_the_audio_player_has_the_configured_length", &["audio-buffer-length"]),
    ("tests/tests/options/media.rs", "the_jitter_buffer_adapts_between_its_bounds", &["jb-adaptive", "jb-adaptive-min", "jb-adaptive-max"]),
    ("tests/tests/options/media.rs", "the_jitter_buffer_puts_packets_into_order", &["jitter-buffer"]),
    ("tests/tests/options/media.rs", "who_is_told_that_music_plays_hears_no_second_one", &["moh-prevent-double-hold"]),
    ("tests/tests/options/process.rs", "each_worker_has_a_poller", &["poller-per-thread"]),
    ("tests/tests/options/process.rs", "one_poll_fetches_no_more_events_than_configured", &["poller-size"]),
    ("tests/tests/options/process.rs", "a_worker_stays_awake_for_packets_when_that_is_wanted", &["busy-poll"]),
    ("tests/tests/options/process.rs", "workers_sleep_as_exactly_as_configured", &["timer-slack"]),
    ("tests/tests/options/process.rs", "one_socket_delivers_no_more_packets_in_a_turn_than_configured", &["max-recv-iters"]),
    ("tests/tests/options/process.rs", "there_are_as_many_threads_of_each_kind_as_configured", &["num-threads", "media-num-threads", "codec-num-threads", "http-threads"]),
    ("tests/tests/options/process.rs", "threads_have_the_stack_that_is_configured", &["thread-stack"]),
    ("tests/tests/options/process.rs", "what_is_due_within_the_accuracy_of_timers_goes_at_once", &["timer-accuracy"]),
    ("tests/tests/options/process.rs", "workers_and_background_threads_have_policies_of_their_own", &["scheduling", "idle-scheduling"]),
    ("tests/tests/options/process.rs", "workers_and_background_threads_have_priorities_of_their_own", &["priority", "idle-priority"]),
    ("tests/tests/options/recording.rs", "captures_have_the_configured_kind_of_link", &["recording-format"]),
    ("tests/tests/options/recording.rs", "digits_too_far_apart_are_no_code", &["dtmf-digit-delay"]),
    ("tests/tests/options/recording.rs", "what_no_recorder_takes_waits_on_disk_if_there_may_be_something", &["recording-spill-size"]),
    ("tests/tests/options/recording.rs", "each_code_does_what_it_is_for", &["vsc-start-rec", "vsc-stop-rec", "vsc-pause-rec"]),
    ("tests/tests/options/recording.rs", "one_code_can_start_pause_and_resume", &["vsc-start-pause-resume-rec"]),
    ("tests/tests/options/recording.rs", "packets_are_recorded_as_they_come_as_they_go_or_both", &["record-egress", "record-both"]),
    ("tests/tests/options/servers.rs", "a_connection_is_waited_for_as_long_as_configured", &["redis-connect-timeout"]),
    ("tests/tests/options/servers.rs", "a_server_that_does_not_answer_is_waited_for_as_long_as_configured", &["redis-cmd-timeout"]),
    ("tests/tests/options/servers.rs", "a_server_that_fails_too_often_is_left_alone_for_a_while", &["redis-allowed-errors", "redis-disable-time"]),
    ("tests/tests/options/servers.rs", "authorities_can_be_a_folder_and_the_protocol_is_named", &["mqtt-capath", "mqtt-tls-alpn"]),
    ("tests/tests/options/servers.rs", "calls_are_restored_over_as_many_connections_as_configured", &["redis-num-threads"]),
    ("tests/tests/options/servers.rs", "homer_can_be_reached_over_tcp", &["homer-protocol"]),
    ("tests/tests/options/servers.rs", "notifications_come_from_a_server_of_their_own", &["redis-subscribe"]),
    ("tests/tests/options/servers.rs", "the_broker_is_told_who_we_are", &["mqtt-id", "mqtt-keepalive", "mqtt-user", "mqtt-pass"]),
    ("tests/tests/options/servers.rs", "the_name_of_a_server_is_looked_up_again_when_that_is_wanted", &["redis-resolve-on-reconnect"]),
    ("tests/tests/options/servers.rs", "what_homer_gets_is_chosen", &["homer-disable-rtcp-stats", "homer-ng-capture-proto"]),
    ("tests/tests/options/signalling.rs", "a_call_on_hold_ends_after_the_silent_timeout", &["silent-timeout"]),
    ("tests/tests/options/signalling.rs", "a_call_with_media_ends_after_the_final_timeout", &["final-timeout"]),
    ("tests/tests/options/signalling.rs", "a_deleted_call_stays_for_the_configured_time", &["delete-delay"]),
    ("tests/tests/options/signalling.rs", "a_section_of_the_config_file_is_chosen", &["config-file", "config-section"]),
    ("tests/tests/options/signalling.rs", "a_template_stands_for_the_flags_it_names", &["templates"]),
    ("tests/tests/options/signalling.rs", "an_offer_without_answer_ends_after_the_offer_timeout", &["offer-timeout"]),
    ("tests/tests/options/signalling.rs", "another_instance_is_asked_as_often_and_as_long_as_configured", &["ng-client-timeout", "ng-client-retries"]),
    ("tests/tests/options/signalling.rs", "bare_words_for_transports_can_be_ignored", &["ignore-transport-words"]),
    ("tests/tests/options/signalling.rs", "interfaces_come_from_groups_of_the_config_file", &["interfaces-config"]),
    ("tests/tests/options/signalling.rs", "media_go_where_the_message_came_from_with_sip_source", &["sip-source"]),
    ("tests/tests/options/signalling.rs", "new_calls_are_refused_on_a_busy_machine", &["max-load", "max-cpu"]),
    ("tests/tests/options/signalling.rs", "new_calls_are_refused_while_there_is_too_much_media", &["max-bandwidth"]),
    ("tests/tests/options/signalling.rs", "quality_of_forwarded_streams_is_measured_when_that_is_wanted", &["measure-rtp"]),
    ("tests/tests/options/signalling.rs", "scores_are_about_conversation_or_about_listening", &["mos"]),
    ("tests/tests/options/signalling.rs", "statistics_of_ssrcs_stand_where_they_are_wanted", &["ssrc-reporting"]),
    ("tests/tests/options/signalling.rs", "unclean_descriptions_are_refused_when_that_is_wanted", &["reject-invalid-sdp"]),
    ("tests/tests/options/sockets.rs", "connections_to_redis_are_kept_alive_as_configured", &["redis-tcp-keepalive-time", "redis-tcp-keepalive-intvl", "redis-tcp-keepalive-probes"]),
    ("tests/tests/options/sockets.rs", "control_packets_are_fragmented_as_configured", &["control-pmtu"]),
    ("tests/tests/options/sockets.rs", "http_has_the_send_buffer_that_is_configured", &["http-buf-size"]),
    ("tests/tests/options/sockets.rs", "media_and_control_packets_have_types_of_service_of_their_own", &["tos", "control-tos"]),
    ("tests/tests/options/sockets.rs", "sockets_of_a_call_belong_to_one_core_and_calls_take_turns", &["socket-cpu-affinity"]),
    ("tests/tests/options/sockets.rs", "the_connection_to_graphite_gives_up_after_the_configured_time", &["graphite-timeout"]),
    ("tests/tests/prometheus.rs", "promtool_understands_the_metrics", &["version"]),
    ("tests/tests/recording.rs", "a_pcap_holds_each_packet_once_with_its_addresses", &["recording-dir", "recording-method"]),
    ("tests/tests/redis.rs", "a_required_server_that_is_missing_keeps_the_daemon_from_starting", &["no-redis-required"]),
    ("tests/tests/redis.rs", "calls_of_all_kinds_go_on_after_a_crash", &["redis", "redis-format"]),
    ("tests/tests/redis.rs", "calls_of_another_instance_are_followed_and_taken_over", &["subscribe-keyspace"]),
    ("tests/tests/redis.rs", "keys_expire_and_go_with_their_calls", &["redis-expires"]),
    ("tests/tests/redis.rs", "limits_of_redis_can_be_seen_and_changed", &["redis-write"]),
    ("tests/tests/redis.rs", "media_or_signalling_make_a_call_own_with_active_switchover", &["active-switchover"]),
    ("tests/tests/reporting.rs", "a_collector_gets_a_trace_of_each_call", &["software-id", "otlp-endpoint"]),
    ("tests/tests/reporting.rs", "graphite_gets_a_block_an_interval_and_a_new_connection_after_a_loss", &["graphite", "graphite-interval", "graphite-prefix"]),
    ("tests/tests/reporting.rs", "homer_gets_rtcp_and_ng_over_udp", &["homer", "homer-id", "homer-enable-ng"]),
    ("tests/tests/reporting.rs", "proxies_are_called_back_when_a_call_times_out", &["b2b-url", "xmlrpc-format"]),
    ("tests/tests/reporting.rs", "records_and_final_statistics_of_a_call_are_in_the_log", &["log-facility-cdr", "log-facility-rtcp", "log-facility-dtmf"]),
    ("tests/tests/rtcp.rs", "generated_reports_come_and_their_answers_are_shown_as_quality", &["rtcp-interval"]),
    ("tests/tests/learning.rs", "delayed_hears_everybody_for_three_seconds_and_takes_the_next", &["endpoint-learning"]),
    ("tests/tests/service_files.rs", "the_client_speaks_json_and_shows_live_calls", &["listen-cli"]),
    ("tests/tests/srtp.rs", "details_of_packets_are_in_the_log_only_where_the_operator_wants_them", &["debug-srtp"]),
    ("tests/tests/srtp.rs", "keys_are_in_the_log_only_where_the_operator_wants_them", &["log-srtp-keys"]),
    ("tests/tests/star_codes.rs", "a_party_starts_pauses_resumes_and_stops_the_recording", &["vsc-start-stop-rec", "vsc-pause-resume-rec"]),
    ("tests/tests/transform.rs", "another_instance_transcodes_both_ways_until_the_call_ends", &["transcode-config"]),
];

/// Options that are accepted and do nothing, for the reason that the log gives at start and `docs/differences.md` explains.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    ("io-uring", &["--io-uring"]),
    ("io-uring-buffers", &["--io-uring-buffers=64"]),
    ("kernel-slots", &["--kernel-slots=64"]),
    ("kernel-num-threads", &["--kernel-num-threads=2"]),
    ("codec-chain-lib-path", &["--codec-chain-lib-path=/nowhere.so"]),
    ("codec-chain-runners", &["--codec-chain-runners=3"]),
    ("codec-chain-concurrency", &["--codec-chain-concurrency=3"]),
    ("codec-chain-async", &["--codec-chain-async=3"]),
    ("codec-chain-nonblock", &["--codec-chain-nonblock"]),
    ("codec-chain-interval", &["--codec-chain-interval=3"]),
    ("codec-chain-opus-application", &["--codec-chain-opus-application=voip"]),
    ("codec-chain-opus-complexity", &["--codec-chain-opus-complexity=3"]),
    ("redis-delete-async", &["--redis-delete-async"]),
    ("redis-delete-async-interval", &["--redis-delete-async-interval=3"]),
    ("redis-multikey", &["--redis-multikey"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Options of the walk and how often each is in it.
fn walked() -> BTreeMap<&'static str, usize> {
    let proofs = PROOFS.iter().flat_map(|(_, _, options)| options.iter().copied());
    let mut counts = BTreeMap::new();
    for option in proofs.chain(WITHOUT_EFFECT.iter().map(|(option, _)| *option)) {
        *counts.entry(option).or_default() += 1;
    }
    counts
}

/// Names behind two dashes in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let is_name = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-';
    let words = text.match_indices("--").map(|(at, _)| &text[at + 2..]);
    words
        .map(|rest| rest.split(|char| !is_name(char)).next().unwrap_or_default().trim_end_matches('-'))
        .collect()
}

#[test]
fn every_option_of_help_is_in_the_walk_once() {
    let output = Command::new(relay_binary()).arg("--help").output().expect("the relay runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let walked = walked();
    for option in names(&text).into_iter().filter(|option| !["help", ""].contains(option)) {
        assert_eq!(walked.get(option), Some(&1), "--{option}");
    }
    assert!(walked.values().all(|count| *count == 1), "{walked:?}");
}

/// Runs where the specification that the product follows is beside the sources.
#[test]
fn every_option_of_the_specification_is_in_the_walk() {
    let shared = std::env::var_os("SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let Ok(text) = fs::read_to_string(shared.join("spec/daemon-options.md")) else { return };
    let reference =
        text.split("\n## ").find(|section| section.starts_with("3. ")).expect("a reference of options");
    let rows = reference.lines().filter_map(|line| line.strip_prefix('|')?.split('|').next());
    let documented: BTreeSet<&str> = rows.flat_map(names).filter(|name| !name.is_empty()).collect();
    assert!(documented.len() > 200, "{}", documented.len());
    let walked = walked();
    let missing: Vec<&&str> = documented.iter().filter(|option| !walked.contains_key(**option)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether a text speaks of an option: by its whole name, and with dashes in front or a value behind if the name is a plain word.
fn speaks_of(text: &str, option: &str) -> bool {
    let part_of_name = |char: Option<char>| char.is_some_and(|char| char.is_ascii_lowercase() || char == '-');
    text.match_indices(option).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + option.len()..]);
        if part_of_name(after.chars().next()) {
            return false;
        }
        let dashed = before.ends_with("--") || before.ends_with("\"--");
        let in_file = before.ends_with("\\n") || after.starts_with(" = ");
        dashed || in_file || (option.contains('-') && !part_of_name(before.chars().next_back()))
    })
}

#[test]
fn every_proof_is_a_test_that_speaks_of_its_options() {
    for (file, test, options) in PROOFS {
        let text = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        let head = format!("fn {test}(");
        let (before, _) = text.split_once(&head).unwrap_or_else(|| panic!("{file}: no {test}"));
        let attributes = before.rsplit("\n\n").next().unwrap_or_default();
        assert!(attributes.contains("#[test]") && !attributes.contains("#[ignore"), "{file}: {test}");
        for option in *options {
            assert!(speaks_of(&text, option), "{file} does not speak of {option}");
        }
    }
}

#[test]
fn options_without_effect_say_so_and_are_explained() {
    let arguments: Vec<&str> =
        WITHOUT_EFFECT.iter().flat_map(|(_, arguments)| arguments.iter().copied()).collect();
    let relay = Relay::start(&arguments);
    let log = relay.process.log();
    let differences = fs::read_to_string(root().join("docs/differences.md")).expect("a document");
    for (option, _) in WITHOUT_EFFECT {
        let said = ["not supported, no effect", "no longer exists, no effect"];
        assert!(said.iter().any(|said| log.contains(&format!("option {option}: {said}"))), "{option}: {log}");
        assert!(differences.contains(&format!("`{option}`")), "{option} is not in docs/differences.md");
    }
}
