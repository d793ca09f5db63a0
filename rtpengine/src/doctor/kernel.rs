//! What is there below user space, where the configuration wants something.

use std::path::Path;

use super::Finding;
use crate::config::{OffloadChoice, OffloadConfig};

const TOPIC: &str = "kernel forwarding";
const MODULE: &str = "/proc/rtpengine/control";
/// Bits in the sets of `/proc/self/status` (capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_BPF: u32 = 39;
/// The first Linux on which the program is known to load.
const LEAST_LINUX: (u32, u32) = (6, 1);

/// What of the machine matters here.
#[derive(Clone, Copy, Debug)]
struct Machine {
    module: bool,
    linux: (u32, u32),
    /// Effective ones.
    capabilities: u64,
    /// This build has the program.
    program: bool,
}

pub fn forwarding(offload: &OffloadConfig) -> Option<Finding> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Some(judge(
        offload,
        Machine {
            module: Path::new(MODULE).exists(),
            linux: version(&release),
            capabilities: effective(&status),
            program: crate::media::offload::has_ebpf(),
        },
    ))
}

fn judge(offload: &OffloadConfig, machine: Machine) -> Finding {
    if !offload.is_wanted() {
        return Finding::fine(TOPIC, "is not wanted (table, offload)");
    }
    if offload.choice != OffloadChoice::Ebpf && machine.module {
        return Finding::fine(TOPIC, "the kernel module is loaded");
    }
    let (what, fix) = match offload.choice {
        OffloadChoice::Module => {
            ("the module xt_RTPENGINE is not loaded".to_owned(), "modprobe xt_RTPENGINE")
        }
        _ => match obstacle(machine) {
            None => return Finding::fine(TOPIC, "by eBPF"),
            Some((what, fix)) => (what, fix),
        },
    };
    if offload.no_fallback {
        return Finding::failure(TOPIC, what, fix);
    }
    Finding::warning(TOPIC, format!("{what}: all media go through user space"), fix)
}

/// What keeps eBPF from working.
fn obstacle(machine: Machine) -> Option<(String, &'static str)> {
    let has = |bit: u32| machine.capabilities >> bit & 1 == 1;
    let (major, minor) = machine.linux;
    if !machine.program {
        return Some(("this build has no eBPF".into(), "apt-get install clang, and build again"));
    }
    if machine.linux < LEAST_LINUX {
        let least = LEAST_LINUX;
        let what = format!("Linux {major}.{minor} is older than {}.{}", least.0, least.1);
        return Some((what, "modprobe xt_RTPENGINE, or a newer kernel"));
    }
    if !has(CAP_NET_ADMIN) || !(has(CAP_BPF) || has(CAP_SYS_ADMIN)) {
        return Some((
            "eBPF needs the capabilities CAP_BPF and CAP_NET_ADMIN".into(),
            "AmbientCapabilities=CAP_BPF CAP_NET_ADMIN in the unit of systemd, or modprobe xt_RTPENGINE",
        ));
    }
    None
}

/// `6.1.0-18-amd64`
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.trim().split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn effective(status: &str) -> u64 {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn each_obstacle_has_its_words() {
        const ALL: u64 = 1 << CAP_NET_ADMIN | 1 << CAP_BPF;
        let fit = Machine { module: false, linux: (6, 12), capabilities: ALL, program: true };
        let wanted = |choice, no_fallback| OffloadConfig {
            choice,
            table: Some(0),
            no_fallback,
            ..OffloadConfig::default()
        };
        use OffloadChoice::{Auto, Ebpf, Module, None};
        for (choice, strict, machine, verdict, words) in [
            (None, false, fit, Verdict::Fine, "not wanted"),
            (
                Auto,
                false,
                Machine { module: true, capabilities: 0, ..fit },
                Verdict::Fine,
                "module is loaded",
            ),
            (Auto, false, fit, Verdict::Fine, "eBPF"),
            (Module, false, fit, Verdict::Warning, "xt_RTPENGINE is not loaded"),
            (Module, true, fit, Verdict::Failure, "xt_RTPENGINE is not loaded"),
            (Ebpf, false, Machine { capabilities: 1 << CAP_BPF, ..fit }, Verdict::Warning, "CAP_NET_ADMIN"),
            (Auto, true, Machine { linux: (5, 10), ..fit }, Verdict::Failure, "Linux 5.10 is older"),
            (Ebpf, false, Machine { program: false, module: true, ..fit }, Verdict::Warning, "no eBPF"),
        ] {
            let finding = judge(&wanted(choice, strict), machine);
            assert_eq!(finding.verdict, verdict, "{finding:?}");
            assert!(finding.text.contains(words), "{finding:?}");
        }
    }

    #[test]
    fn versions_and_sets_are_read() {
        assert_eq!(version("6.1.0-18-amd64\n"), (6, 1));
        assert_eq!(version("rubbish"), (0, 0));
        assert_eq!(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), 0x1ff_ffff_ffff);
        assert_eq!(effective(""), 0);
    }
}
