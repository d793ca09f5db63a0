//! The machine: limits, processors, clock, syslog, buffers.

use std::path::Path;

use service::log::{Destination, LogConfig};

use super::Finding;
use crate::config::Config;

/// Sockets of a call of two parties, RTP and RTCP each.
pub const SOCKETS_A_CALL: u64 = 4;
/// What the daemon has open without calls.
const OTHER_FILES: u64 = 200;
/// The kernel's own default, in octets: about a second of a video stream.
const LEAST_BUFFER: u64 = 212_992;

/// `allowed` files may be open at most.
pub fn open_files(config: &Config, allowed: u64) -> Option<Finding> {
    let calls = config.max_sessions.unwrap_or(1000);
    let wanted = calls.saturating_mul(SOCKETS_A_CALL).saturating_add(OTHER_FILES);
    Some(if allowed < wanted {
        Finding::warning(
            "open files",
            format!("at most {allowed}, {calls} calls need {wanted}"),
            format!("LimitNOFILE={wanted} in the unit of systemd, or `ulimit -n {wanted}` before the start"),
        )
    } else {
        Finding::fine("open files", format!("at most {allowed}"))
    })
}

pub fn processors(config: &Config) -> Option<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = config.num_threads;
    // Four are the default on small machines.
    Some(if threads > 4.max(cores) {
        Finding::warning(
            "workers",
            format!("{threads} on {cores} processors take turns"),
            format!("num-threads = {cores}"),
        )
    } else {
        Finding::fine("workers", format!("{threads} on {cores} processors"))
    })
}

pub fn clock() -> Option<Finding> {
    Some(match service::process::clock_is_synchronised() {
        Some(true) => Finding::fine("clock", "is synchronised"),
        Some(false) => Finding::warning(
            "clock",
            "is not synchronised: times in records and sender reports drift",
            "apt-get install chrony, or `timedatectl set-ntp true`",
        ),
        None => Finding::fine("clock", "the system does not tell whether it is synchronised"),
    })
}

pub fn log(log: &LogConfig) -> Option<Finding> {
    if !matches!(log.destination, Destination::Syslog { .. }) {
        return Some(Finding::fine("log", "goes to standard error"));
    }
    Some(if Path::new("/dev/log").exists() {
        Finding::fine("log", "goes to syslog")
    } else {
        Finding::warning("log", "nobody listens at /dev/log", "apt-get install rsyslog, or log-stderr = true")
    })
}

pub fn receive_buffers() -> Option<Finding> {
    let path = "/proc/sys/net/core/rmem_default";
    let octets: u64 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    Some(if octets < LEAST_BUFFER {
        Finding::warning(
            "socket buffers",
            format!("{octets} octets: bursts of packets are lost"),
            format!("sysctl -w net.core.rmem_default={LEAST_BUFFER}"),
        )
    } else {
        Finding::fine("socket buffers", format!("{octets} octets"))
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::Verdict;
    use super::*;

    fn config() -> Config {
        Config::for_address(Ipv4Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into())
    }

    #[test]
    fn files_have_to_do_for_the_calls_that_are_allowed() {
        let config = Config { max_sessions: Some(10_000), ..config() };
        let few = open_files(&config, 1024).expect("a finding");
        assert_eq!(few.verdict, Verdict::Warning);
        assert_eq!(few.text, "at most 1024, 10000 calls need 40200");
        assert_eq!(open_files(&config, 40_200).map(|finding| finding.verdict), Some(Verdict::Fine));
    }

    #[test]
    fn many_workers_are_noticed() {
        let config = Config { num_threads: 10_000, ..config() };
        assert_eq!(processors(&config).map(|finding| finding.verdict), Some(Verdict::Warning));
    }
}
