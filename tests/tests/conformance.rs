//! Every recorded scenario of the control protocol against the relay, compared with the checked-in list.

use e2e::conformance::{self, Target, expected, report, scenario};

#[test]
fn recorded_scenarios_pass_or_are_listed_with_a_reason() {
    let scenarios = conformance::load(&scenario::folder());
    assert!(scenarios.len() > 500, "the corpus is complete");
    let outcomes = conformance::play_all(&Target::from_environment(), &scenarios);
    let list = expected::read(&expected::path());
    println!("{}", report::table(&outcomes, &list));
    let wrong = report::contradictions(&outcomes, &list);
    assert!(wrong.is_empty(), "{} contradictions with the list:\n{}", wrong.len(), wrong.join("\n"));
}
