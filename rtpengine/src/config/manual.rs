//! The manual page of the relay daemon.

use service::options::man::{self, ManPage};

use super::PROGRAM;

/// `docs/man/rtpengine.8`
pub fn page() -> String {
    man::render(&PROGRAM, &PAGE)
}

const PAGE: ManPage = ManPage {
    section: 8,
    description: &[
        "rtpengine relays, transcodes and records media streams between the parties of calls. A SIP proxy tells it about \
         calls over the ng protocol; see --listen-ng.",
        "At least one interface and one control listener must be configured.",
    ],
    sections: &[
        (
            "CONFIG FILE",
            &[
                "The file consists of groups of 'key = value' lines. A line that starts with # is a comment. The main \
                 options are read from the group [rtpengine] or the one that --config-section names; the command line \
                 goes before the file. In values, \\s, \\n, \\t, \\r and \\\\ are a blank, line feed, tab, carriage \
                 return and backslash; in lists \\; is a semicolon. Unknown keys are ignored.",
            ],
        ),
        (
            "INTERFACES",
            &[
                "An interface is written [NAME/]ADDRESS[!ADVERTISED] or ALIAS=NAME. ADDRESS is an IPv4 or IPv6 address, \
                 the name of a system interface, a host name, or 'any'. ADVERTISED is what peers are told instead.",
                "With --interfaces-config=PFX each group [PFX-NAME] is an interface, with the keys address, advertised, \
                 name, port-min, port-max, exclude-ports and alias.",
            ],
        ),
        (
            "LISTEN ADDRESSES",
            &["PORT (all addresses), ADDRESS:PORT, [IPv6]:PORT or HOSTNAME:PORT. Port 0 opens nothing."],
        ),
        (
            "DOCTOR",
            &[
                "`rtpengine doctor [OPTION...]`, with the options of the daemon or its config file, looks at limits, clock, log, \
                 addresses, ports, directories, certificates, codec libraries, databases and collectors, and prints a line for \
                 each: ok, WARNING or FAILURE, what it found, and the command or setting that mends it. It changes nothing. The \
                 exit status is 1 if there was a failure.",
            ],
        ),
        (
            "SIGNALS",
            &[
                "SIGINT, SIGTERM\tOrderly shutdown.",
                "SIGHUP\tImmediate exit with status 42.",
                "SIGUSR1\tDecrease all log levels.",
                "SIGUSR2\tIncrease all log levels.",
            ],
        ),
        (
            "EXIT STATUS",
            &[
                "0\tSuccess.",
                "1\t`rtpengine doctor` found a failure.",
                "255\tThe daemon could not start; the reason is on standard error.",
                "42\tSIGHUP.",
            ],
        ),
        ("ENVIRONMENT", &["NOTIFY_SOCKET\tSocket of the service manager."]),
        ("FILES", &["/etc/rtpengine/rtpengine.conf\tDefault config file; may be missing."]),
        ("SEE ALSO", &["rtpengine-recording(8)"]),
    ],
};
