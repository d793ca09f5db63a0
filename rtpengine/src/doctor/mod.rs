//! `rtpengine doctor`: looks at the machine and at everything that the configuration names, and says what to do about what is wrong.
//!
//! Nothing is changed and nothing stays open. Each check gives findings; one finding is one line.

mod codecs;
mod files;
mod kernel;
mod machine;
mod network;
mod peers;

use std::fmt;
use std::process::ExitCode;

use crate::config::Startup;

/// Exit status when something is wrong that keeps calls from working.
const SICK: u8 = 1;

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub topic: &'static str,
    pub verdict: Verdict,
    pub text: String,
    /// A command, or what to write where.
    pub fix: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Fine,
    /// The daemon works, less well than it could.
    Warning,
    /// The daemon does not start, or calls do not work.
    Failure,
}

impl Finding {
    fn fine(topic: &'static str, text: impl Into<String>) -> Self {
        Self { topic, verdict: Verdict::Fine, text: text.into(), fix: None }
    }

    fn warning(topic: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { topic, verdict: Verdict::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    fn failure(topic: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { topic, verdict: Verdict::Failure, text: text.into(), fix: Some(fix.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Fine => "ok",
            Verdict::Warning => "WARNING",
            Verdict::Failure => "FAILURE",
        };
        // A message of the system may have several lines.
        let text = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        write!(f, "{verdict:<8}{}: {text}", self.topic)?;
        match &self.fix {
            Some(fix) => write!(f, " | fix: {fix}"),
            None => Ok(()),
        }
    }
}

/// Looks at everything.
pub fn examine(startup: &Startup) -> Vec<Finding> {
    let Startup { config, log, process, notices } = startup;
    let mut findings = vec![Finding::fine("configuration", "can be read, all values are valid")];
    let notice = |notice: &String| {
        Finding::warning("configuration", notice.clone(), "remove the option, or live without its effect")
    };
    findings.extend(notices.iter().map(notice));
    findings.extend(machine::open_files(config, service::process::raise_limits()));
    findings.extend(machine::processors(config));
    findings.extend(machine::clock());
    findings.extend(machine::log(log));
    findings.extend(machine::receive_buffers());
    findings.extend(kernel::forwarding(&config.offload));
    findings.extend(network::addresses(config));
    findings.extend(network::ports(config));
    findings.extend(network::listeners(config));
    findings.extend(files::recording(config));
    findings.extend(files::certificate(config));
    findings.extend(files::others(config, process));
    findings.extend(codecs::evs(config));
    findings.extend(codecs::libraries());
    findings.extend(peers::database(config));
    findings.extend(peers::collectors(config));
    findings
}

/// The report on standard output, the worst in the exit status.
pub fn run(loaded: Result<&Startup, String>) -> ExitCode {
    let findings = match loaded {
        Ok(startup) => examine(startup),
        Err(error) => {
            let fix = "correct the option; `man 8 rtpengine` says what is accepted";
            vec![Finding::failure("configuration", error, fix)]
        }
    };
    for finding in &findings {
        println!("{finding}");
    }
    let worst = findings.iter().map(|finding| finding.verdict).max();
    if worst == Some(Verdict::Failure) { ExitCode::from(SICK) } else { ExitCode::SUCCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_fix() {
        let finding = Finding::failure("database", "no\nanswer", "systemctl start mariadb");
        assert_eq!(finding.to_string(), "FAILURE database: no answer | fix: systemctl start mariadb");
        assert_eq!(Finding::fine("clock", "is right").to_string(), "ok      clock: is right");
    }
}
