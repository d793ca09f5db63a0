//! Plays the recorded control-protocol corpus: `conformance [--update] [--show] [PATTERN…]`.
//!
//! `$RTPENGINE` (a command) replaces the relay of this build, `$CONFORMANCE_CORPUS` the checked-in corpus. PATTERN is a
//! part of a scenario's or area's name. Exit status 1 when the outcome is not what `tests/corpus/ng-expected.txt` says.

use std::process::ExitCode;

use e2e::conformance::{self, Target, expected, report, scenario};

fn main() -> ExitCode {
    let (options, patterns): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let has = |option: &str| options.iter().any(|word| word == option);
    let mut scenarios = conformance::load(&scenario::folder());
    scenarios.retain(|scenario| {
        patterns.is_empty()
            || patterns.iter().any(|p| scenario.name.contains(p.as_str()) || scenario.area == *p)
    });
    let outcomes = conformance::play_all(&Target::from_environment(), &scenarios);
    if has("--update") {
        let failures: Vec<_> = outcomes
            .iter()
            .filter_map(|o| o.result.clone().err().map(|difference| (o.scenario, difference)))
            .collect();
        expected::write(&expected::path(), &failures);
    }
    let list = expected::read(&expected::path());
    if has("--show") {
        for outcome in &outcomes {
            if let Err(difference) = &outcome.result {
                println!("{:<40} {difference}", outcome.scenario.name);
            }
        }
    }
    print!("{}", report::table(&outcomes, &list));
    if has("--show") {
        return ExitCode::SUCCESS;
    }
    let wrong = report::contradictions(&outcomes, &list);
    wrong.iter().for_each(|sentence| println!("{sentence}"));
    if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
