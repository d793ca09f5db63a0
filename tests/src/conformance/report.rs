//! The table that a run prints.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Scenario;
use super::expected::Reason;

/// What became of each scenario.
pub struct Outcome<'a> {
    /// What was played.
    pub scenario: &'a Scenario,
    /// The first difference, if any.
    pub result: Result<(), String>,
}

/// Passed, lacking and differing scenarios per area, and what contradicts the list.
pub fn table(outcomes: &[Outcome<'_>], list: &BTreeMap<String, Reason>) -> String {
    let mut areas: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for outcome in outcomes {
        let row = areas.entry(&outcome.scenario.area).or_default();
        row[0] += 1;
        match (&outcome.result, list.get(&outcome.scenario.name)) {
            (Ok(()), _) => row[1] += 1,
            (Err(_), Some(Reason::Lacks(_))) => row[2] += 1,
            (Err(_), _) => row[3] += 1,
        }
    }
    let mut text = format!("{:<14}{:>14}{:>12}{:>10}\n", "area", "passed/total", "not built", "differs");
    let mut sum = [0; 4];
    for (area, row) in &areas {
        sum.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
        line(&mut text, area, row);
    }
    line(&mut text, "total", &sum);
    let optional =
        |outcome: &&Outcome<'_>| matches!(list.get(&outcome.scenario.name), Some(Reason::Option(_)));
    let optional = outcomes.iter().filter(optional).filter(|outcome| outcome.result.is_ok()).count();
    if optional > 0 {
        writeln!(text, "{optional} of them with an option that brings the reference's behaviour back")
            .expect("a String");
    }
    text
}

fn line(text: &mut String, area: &str, row: &[usize; 4]) {
    let passed = format!("{}/{}", row[1], row[0]);
    writeln!(text, "{area:<14}{passed:>14}{:>12}{:>10}", row[2], row[3]).expect("writing to a String");
}

/// Sentences about scenarios whose outcome is not what the list says; empty when all is well.
pub fn contradictions(outcomes: &[Outcome<'_>], list: &BTreeMap<String, Reason>) -> Vec<String> {
    let mut wrong = Vec::new();
    for Outcome { scenario, result } in outcomes {
        match (result, list.get(&scenario.name)) {
            (Ok(()), Some(Reason::Option(_))) => {}
            (Err(difference), None | Some(Reason::Option(_))) => {
                wrong.push(format!("{} fails: {difference}", scenario.name))
            }
            (Ok(()), Some(reason)) => {
                wrong.push(format!("{} passes, but is listed ({reason:?}): remove the line", scenario.name));
            }
            _ => {}
        }
    }
    wrong
}
