//! Compares the relay with the distribution's rtpengine on generated calls:
//! `differential [--cases N] [--seed FIRST] [--only SEED] [--with A,B] [--without A,B] [--failures N] [--no-shrink] [--rules]`.
//!
//! `$RTPENGINE_BIN` and `$REFERENCE_RTPENGINE` name other binaries. Exit status 1 when replies differ without a named
//! reason.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use e2e::differential::canonical::NORMALISATIONS;
use e2e::differential::differences::DIFFERENCES;
use e2e::differential::exclusions;
use e2e::differential::features::Features;
use e2e::differential::run::{Failure, Outcome, Pair, REFERENCE, reference};
use e2e::differential::shrink::shrink;

fn main() -> ExitCode {
    let options = match Options::parse() {
        Ok(options) => options,
        Err(reason) => {
            eprintln!("differential: {reason}");
            return ExitCode::from(2);
        }
    };
    if options.rules {
        print_rules();
        return ExitCode::SUCCESS;
    }
    let Some(reference) = reference() else {
        println!("differential: SKIPPED: {REFERENCE} (package rtpengine-daemon) is not installed");
        return ExitCode::SUCCESS;
    };
    let pair = match Pair::start(&reference) {
        Ok(pair) => pair,
        Err(reason) => {
            eprintln!("differential: {reason}");
            return ExitCode::FAILURE;
        }
    };
    run(&pair, &options)
}

fn run(pair: &Pair, options: &Options) -> ExitCode {
    let started = Instant::now();
    let (mut replies, mut failures, mut cases) = (0, 0, 0);
    let mut explained: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in options.first..options.first + options.cases {
        cases += 1;
        match pair.play_seed(seed, &options.features) {
            Outcome::Equal(count) => replies += count,
            Outcome::Explained(rule) => *explained.entry(rule).or_default() += 1,
            Outcome::Different(failure) => {
                failures += 1;
                println!("---- seed {seed} (again: differential --only {seed})");
                print_failure(&if options.shrink { shrink(pair, failure) } else { failure });
                if failures >= options.failures {
                    break;
                }
            }
        }
    }
    println!(
        "{cases} cases, {replies} equal replies, {failures} failures, {:.1} s; explained: {explained:?}",
        started.elapsed().as_secs_f64()
    );
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_failure(failure: &Failure) {
    for request in &failure.requests {
        let mut keys = request.clone();
        let sdp = keys.as_object_mut().and_then(|keys| keys.remove("sdp"));
        println!("  {keys}");
        let sdp = sdp.as_ref().and_then(|sdp| sdp.as_str()).unwrap_or_default();
        sdp.lines().for_each(|line| println!("    > {line}"));
    }
    print!("  replies to the last request (- reference, + ours):\n{}", failure.difference);
}

fn print_rules() {
    println!("What is taken away before comparing:");
    NORMALISATIONS.iter().for_each(|(name, about)| println!("  {name:<24} {about}"));
    println!("What cases keep away from, since the two recorded references differ:");
    exclusions::all().for_each(|rule| println!("  {:<24} {}", rule.name, rule.about));
    println!("What differs on purpose:");
    DIFFERENCES.iter().for_each(|rule| println!("  {:<24} {}", rule.name, rule.about));
}

struct Options {
    first: u64,
    cases: u64,
    failures: usize,
    features: Features,
    shrink: bool,
    rules: bool,
}

impl Options {
    fn parse() -> Result<Self, String> {
        let mut options = Self {
            first: 1,
            cases: 2_500,
            failures: 10,
            features: Features::default(),
            shrink: true,
            rules: false,
        };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text:?}: {e}"));
            match word.as_str() {
                "--seed" => options.first = number(value()?)?,
                "--cases" => options.cases = number(value()?)?,
                "--failures" => options.failures = number(value()?)? as usize,
                "--only" => (options.first, options.cases) = (number(value()?)?, 1),
                "--with" => options.features.switch(&value()?, true)?,
                "--without" => options.features.switch(&value()?, false)?,
                "--no-shrink" => options.shrink = false,
                "--rules" => options.rules = true,
                other => return Err(format!("unknown option {other}")),
            }
        }
        Ok(options)
    }
}
