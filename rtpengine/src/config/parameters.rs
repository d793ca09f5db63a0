//! The configuration as operators read it back: historical names and values of the start.

use service::options::{Accepts, Settings};

/// How a value is made from an option.
#[derive(Clone, Copy)]
enum Form {
    /// As it is; 0 when there is none.
    Number,
    /// As it is; empty when there is none.
    Text,
    /// Position of the word among those accepted.
    Choice,
    /// Times this.
    Times(i64),
    /// Nothing, or asterisks: whoever reaches the command line need not know it.
    Secret,
}

use Form::{Choice, Number, Secret, Text, Times};

const MILLISECONDS: Form = Times(1000);
const SECONDS: Form = Times(1_000_000);

/// (historical name, option, form). Values that can change at run time are not here.
const TABLE: &[(&str, &str, Form)] = &[
    ("kernel_table", "table", Number),
    ("moh_max_duration", "moh-max-duration", Number),
    ("moh_max_repeats", "moh-max-repeats", Number),
    ("redis_expires_secs", "redis-expires", Number),
    ("default_tos", "tos", Number),
    ("graphite_interval", "graphite-interval", Number),
    ("graphite_timeout", "graphite-timeout", Number),
    ("redis_num_threads", "redis-num-threads", Number),
    ("homer_protocol", "homer-protocol", Choice),
    ("homer_id", "homer-id", Number),
    ("homer_ng_capt_proto", "homer-ng-capture-proto", Number),
    ("port_min", "port-min", Number),
    ("port_max", "port-max", Number),
    ("redis_tcp_keepalive_time", "redis-tcp-keepalive-time", Number),
    ("redis_tcp_keepalive_intvl", "redis-tcp-keepalive-intvl", Number),
    ("redis_tcp_keepalive_probes", "redis-tcp-keepalive-probes", Number),
    ("num_threads", "num-threads", Number),
    ("media_num_threads", "media-num-threads", Number),
    ("codec_num_threads", "codec-num-threads", Number),
    ("kernel_num_threads", "kernel-num-threads", Number),
    ("kernel_slots", "kernel-slots", Number),
    ("nftables_family", "nftables-family", Text),
    ("priority", "priority", Number),
    ("idle_priority", "idle-priority", Number),
    ("mysql_port", "mysql-port", Number),
    ("dtmf_digit_delay", "dtmf-digit-delay", Number),
    ("jb_length", "jitter-buffer", Number),
    ("jb_adaptive_min", "jb-adaptive-min", Number),
    ("jb_adaptive_max", "jb-adaptive-max", Number),
    ("dtls_rsa_key_size", "dtls-rsa-key-size", Number),
    ("dtls_mtu", "dtls-mtu", Number),
    ("http_threads", "http-threads", Number),
    ("dtx_buffer", "dtx-buffer", Number),
    ("kernel_player", "kernel-player", Number),
    ("kernel_player_media", "kernel-player-media", Number),
    ("audio_buffer_length", "audio-buffer-length", Number),
    ("audio_buffer_delay", "audio-buffer-delay", Number),
    ("mqtt_port", "mqtt-port", Number),
    ("mqtt_keepalive", "mqtt-keepalive", Number),
    ("mqtt_publish_qos", "mqtt-publish-qos", Number),
    ("cpu_affinity", "socket-cpu-affinity", Number),
    ("max_recv_iters", "max-recv-iters", Number),
    ("media_refresh", "media-files-reload", Number),
    ("db_refresh", "db-media-reload", Number),
    ("cache_refresh", "db-cache-reload", Number),
    ("expiry_timer", "expiry-timer", Number),
    ("timer_accuracy", "timer-accuracy", Number),
    ("ng_client_timeout", "ng-client-timeout", MILLISECONDS),
    ("ng_client_retries", "ng-client-retries", Number),
    ("http_buf_size", "http-buf-size", Number),
    ("http_keepalive_timeout", "http-idle-timeout", Number),
    ("homer_rtcp_off", "homer-disable-rtcp-stats", Number),
    ("homer_ng_on", "homer-enable-ng", Number),
    ("no_fallback", "no-fallback", Number),
    ("reject_invalid_sdp", "reject-invalid-sdp", Number),
    ("save_interface_ports", "save-interface-ports", Number),
    ("no_redis_required", "no-redis-required", Number),
    ("active_switchover", "active-switchover", Number),
    ("rec_egress", "record-egress", Number),
    ("rec_both", "record-both", Number),
    ("xtables", "xtables", Number),
    ("nftables_append", "nftables-append", Number),
    ("log_keys", "log-srtp-keys", Number),
    ("dtmf_via_ng", "dtmf-log-ng-tcp", Number),
    ("dtmf_no_suppress", "dtmf-no-suppress", Number),
    ("dtmf_no_log_injects", "dtmf-no-log-injects", Number),
    ("jb_clock_drift", "jb-clock-drift", Number),
    ("jb_adaptive", "jb-adaptive", Number),
    ("player_cache", "player-cache", Number),
    ("poller_per_thread", "poller-per-thread", Number),
    ("redis_resolve_on_reconnect", "redis-resolve-on-reconnect", Number),
    ("measure_rtp", "measure-rtp", Number),
    ("amr_cn_dtx", "amr-dtx", Choice),
    ("evs_cn_dtx", "evs-dtx", Choice),
    ("moh_prevent_double_hold", "moh-prevent-double-hold", Number),
    ("control_pmtu", "control-pmtu", Text),
    ("fmt", "xmlrpc-format", Number),
    ("log_format", "log-format", Choice),
    ("redis_format", "redis-format", Choice),
    ("endpoint_learning", "endpoint-learning", Choice),
    ("dtls_cert_cipher", "dtls-cert-cipher", Text),
    ("dtls_signature", "dtls-signature", Text),
    ("use_audio_player", "audio-player", Text),
    ("mqtt_publish_scope", "mqtt-publish-scope", Choice),
    ("mos", "mos", Text),
    ("ssrc_reporting", "ssrc-reporting", Choice),
    ("media_files_expire_us", "media-files-expire", SECONDS),
    ("db_cache_expire_us", "db-cache-expire", SECONDS),
    ("db_media_expire_us", "db-media-expire", SECONDS),
    ("rtcp_interval_us", "rtcp-interval", MILLISECONDS),
    ("mqtt_publish_interval_us", "mqtt-publish-interval", MILLISECONDS),
    ("dtx_delay_us", "dtx-delay", MILLISECONDS),
    ("dtx_shift_us", "dtx-shift", MILLISECONDS),
    ("dtx_lag_us", "dtx-lag", MILLISECONDS),
    ("max_dtx_us", "max-dtx", SECONDS),
    ("b2b_url", "b2b-url", Text),
    ("redis", "redis", Secret),
    ("redis_write", "redis-write", Secret),
    ("redis_subscribe", "redis-subscribe", Secret),
    ("moh_attr_name", "moh-attr-name", Text),
    ("spooldir", "recording-dir", Text),
    ("rec_method", "recording-method", Text),
    ("rec_format", "recording-format", Text),
    ("iptables_chain", "iptables-chain", Text),
    ("nftables_chain", "nftables-chain", Text),
    ("nftables_base_chain", "nftables-base-chain", Text),
    ("scheduling", "scheduling", Text),
    ("idle_scheduling", "idle-scheduling", Text),
    ("mysql_host", "mysql-host", Text),
    ("mysql_user", "mysql-user", Text),
    ("mysql_pass", "mysql-pass", Secret),
    ("mysql_query", "mysql-query", Text),
    ("dtls_ciphers", "dtls-ciphers", Text),
    ("https_cert", "https-cert", Text),
    ("https_key", "https-key", Text),
    ("mqtt_host", "mqtt-host", Text),
    ("mqtt_tls_alpn", "mqtt-tls-alpn", Text),
    ("mqtt_id", "mqtt-id", Text),
    ("mqtt_user", "mqtt-user", Text),
    ("mqtt_pass", "mqtt-pass", Secret),
    ("mqtt_cafile", "mqtt-cafile", Text),
    ("mqtt_capath", "mqtt-capath", Text),
    ("mqtt_certfile", "mqtt-certfile", Text),
    ("mqtt_keyfile", "mqtt-keyfile", Text),
    ("mqtt_publish_topic", "mqtt-publish-topic", Text),
    ("janus_secret", "janus-secret", Secret),
    ("db_media_cache", "db-media-cache", Text),
    ("dtx_cn_params", "dtx-cn-params", Text),
    ("cn_payload", "cn-payload", Text),
    ("vsc_start_rec", "vsc-start-rec", Text),
    ("vsc_stop_rec", "vsc-stop-rec", Text),
    ("vsc_start_stop_rec", "vsc-start-stop-rec", Text),
    ("vsc_pause_rec", "vsc-pause-rec", Text),
    ("vsc_pause_resume_rec", "vsc-pause-resume-rec", Text),
    ("vsc_start_pause_resume_rec", "vsc-start-pause-resume-rec", Text),
    ("graphite_ep", "graphite", Text),
    ("homer_ep", "homer", Text),
    ("dtmf_udp_ep", "dtmf-log-dest", Text),
    ("tcp_listen_ep", "listen-tcp", Text),
    ("udp_listen_ep", "listen-udp", Text),
    ("ng_listen_ep", "listen-ng", Text),
    ("ng_tcp_listen_ep", "listen-tcp-ng", Text),
    ("cli_listen_ep", "listen-cli", Text),
    ("http_ep", "listen-http", Text),
    ("https_ep", "listen-https", Text),
];

/// All names with their values.
pub(super) fn list(settings: &Settings, num_threads: usize) -> Vec<(String, String)> {
    let value = |name, option, form| match name {
        // As many as there are, also when nobody asked for a number.
        "num_threads" => num_threads.to_string(),
        _ => value(settings, option, form),
    };
    TABLE.iter().map(|&(name, option, form)| (name.to_owned(), value(name, option, form))).collect()
}

fn value(settings: &Settings, option: &str, form: Form) -> String {
    let shown = settings.shown(option);
    match form {
        Number => shown.unwrap_or_else(|| "0".into()),
        Text => shown.unwrap_or_default(),
        Secret => shown.map_or_else(String::new, |_| "***".into()),
        Times(factor) => {
            let number = shown.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
            number.saturating_mul(factor).to_string()
        }
        Choice => {
            let accepts = settings.program().find(option).map(|spec| spec.accepts);
            let (Some(Accepts::Words(words) | Accepts::WordsAnyCase(words)), Some(word)) = (accepts, shown)
            else {
                return "0".into();
            };
            words.iter().position(|known| known.eq_ignore_ascii_case(&word)).unwrap_or(0).to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::{Command, PROGRAM, load};

    #[test]
    fn every_name_is_there_once_and_its_option_exists() {
        let names: HashSet<_> = TABLE.iter().map(|(name, ..)| name).collect();
        assert_eq!(names.len(), TABLE.len());
        for (name, option, _) in TABLE {
            assert!(PROGRAM.find(option).is_some(), "{name}: no option {option}");
        }
    }

    #[test]
    fn values_have_historical_units_and_no_secrets() {
        let words = [
            "--config-file=none",
            "--listen-ng=127.0.0.1:2223",
            "--interface=127.0.0.1",
            "--rtcp-interval=2000",
            "--endpoint-learning=off",
            "--mysql-pass=secret",
            "--reject-invalid-sdp",
        ];
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let Ok(Command::Run(startup)) = load(&words) else { panic!("not a daemon") };
        let shown = |name: &str| {
            let parameters = &startup.config.parameters;
            parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
        };
        for (name, value) in [
            ("num_threads", &*startup.config.num_threads.to_string()),
            ("rtcp_interval_us", "2000000"),
            ("endpoint_learning", "2"),
            ("mysql_pass", "***"),
            ("janus_secret", ""),
            ("reject_invalid_sdp", "1"),
            ("port_min", "30000"),
            ("ng_listen_ep", "127.0.0.1:2223"),
        ] {
            assert_eq!(shown(name), Some(value), "{name}");
        }
    }
}
