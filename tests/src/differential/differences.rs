//! What ours answers differently from the reference on purpose (docs/differences.md), as rules on a pair of replies.

use serde_json::Value;

/// A deliberate difference.
pub struct Difference {
    /// Short name, for `differential --rules`.
    pub name: &'static str,
    /// What differs and why ours is right.
    pub about: &'static str,
    applies: fn(&[Value], &[String], &[String]) -> bool,
}

/// The rule that explains why `ours` differs from `reference`.
pub fn explained(requests: &[Value], reference: &[String], ours: &[String]) -> Option<&'static str> {
    DIFFERENCES.iter().find(|rule| (rule.applies)(requests, reference, ours)).map(|rule| rule.name)
}

/// All rules.
pub const DIFFERENCES: &[Difference] = &[Difference {
    name: "no-formats",
    about: "the reference prints an m= line without formats when only supplemental ones are left: not valid",
    applies: |_, reference, _| {
        reference.iter().any(|line| line.starts_with("m=") && line.split(' ').count() == 3)
    },
}];
