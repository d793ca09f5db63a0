//! The restriction of the differential test follows from the two recordings: outside of it they agree.

use std::collections::BTreeMap;
use std::path::Path;

use e2e::conformance::{Scenario, load};
use e2e::differential::canonical::{Names, canonical, diff};
use e2e::differential::exclusions::excluded;
use e2e::differential::features::Features;
use e2e::differential::reports::{CALLS, compare};
use e2e::differential::run::{Outcome, Pair, REFERENCE, reference};
use serde_json::Value;

#[test]
fn recorded_references_agree_outside_of_the_named_exclusions() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let newest = load(&folder.join("ng"));
    let older: BTreeMap<String, Scenario> =
        load(&folder.join("ng-10.5")).into_iter().map(|scenario| (scenario.name.clone(), scenario)).collect();
    let (mut compared, mut wrong) = (0, Vec::new());
    for new in &newest {
        let Some(old) = older.get(&new.name) else { continue };
        let (mut new_names, mut old_names) = (Names::default(), Names::default());
        let mut requests = Vec::new();
        for (step, (a, b)) in new.steps.iter().zip(&old.steps).enumerate() {
            let Some(request) = a.get("request").filter(|request| request.is_object()) else { continue };
            requests.push(request.clone());
            if excluded(&requests).is_some() {
                break;
            }
            new_names.see(request);
            old_names.see(request);
            if request["command"] == "delete" || a["reply"] == Value::Null {
                continue;
            }
            let (a, b) = (canonical(&a["reply"], &mut new_names), canonical(&b["reply"], &mut old_names));
            compared += 1;
            if a != b {
                wrong.push(format!("{} step {step}: {request}\n{}", new.name, diff(&b, &a)));
                break;
            }
        }
    }
    println!("{compared} replies of {} scenarios compared", newest.len());
    assert!(compared > 550, "only {compared} replies lie outside of the exclusions");
    assert!(wrong.is_empty(), "{} scenarios differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn reports_of_calls_of_every_kind_are_those_of_the_reference() {
    let Some(reference) = reference() else {
        eprintln!(
            "SKIPPED: {REFERENCE} (package rtpengine-daemon) is not installed, nothing to compare with"
        );
        return;
    };
    let pair = Pair::start(&reference).expect("both daemons start");
    let (mut equal, mut failures) = (0, Vec::new());
    for call in CALLS {
        match compare(&pair, call) {
            Ok(reports) => equal += reports,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{} calls differ:\n{}", failures.len(), failures.join("\n"));
    assert!(equal >= 40, "only {equal} reports were compared");
}

#[test]
fn generated_calls_are_answered_like_the_reference_answers_them() {
    let Some(reference) = reference() else {
        eprintln!(
            "SKIPPED: {REFERENCE} (package rtpengine-daemon) is not installed, nothing to compare with"
        );
        return;
    };
    let pair = Pair::start(&reference).expect("both daemons start");
    let features = Features::default();
    let (mut equal, mut explained, mut failures) = (0, 0, Vec::new());
    for seed in 1..=2_500 {
        match pair.play_seed(seed, &features) {
            Outcome::Equal(replies) => equal += replies,
            Outcome::Explained(_) => explained += 1,
            Outcome::Different(failure) => failures.push(format!("seed {seed}:\n{}", failure.difference)),
        }
    }
    assert!(equal > 5_000, "only {equal} replies were compared");
    assert!(explained < 120, "{explained} calls differ on purpose: a rule takes in too much");
    assert!(
        failures.is_empty(),
        "{} calls differ; `make differential` makes them small:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
