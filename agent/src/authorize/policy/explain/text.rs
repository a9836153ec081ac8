//! An explanation as lines of text: the decision first, then each policy with its rules below it.

use std::fmt;

use super::{ExplainedPolicy, ExplainedRule, Explanation, Unmet};

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.decision)?;
        if let Some(on_trial) = &self.on_trial {
            write!(f, "\nwith the policies on trial in force: {on_trial}")?;
        }
        self.policies.iter().try_for_each(|policy| write!(f, "\n{policy}"))
    }
}

impl fmt::Display for ExplainedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, action, dry_run, matches, rules } = self;
        write!(f, "{action}{} {namespace}/{name}: ", if *dry_run { " on trial" } else { "" })?;
        match matches {
            Some(rule) => write!(f, "rules[{rule}] matches")?,
            None if rules.is_empty() => f.write_str("has no rules, so nothing matches")?,
            None => f.write_str("no rule matches")?,
        }
        rules.iter().enumerate().try_for_each(|(index, rule)| write!(f, "\n  rules[{index}]: {rule}"))
    }
}

impl fmt::Display for ExplainedRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.unmet.as_slice(), self.unseen.is_empty()) {
            ([], true) => f.write_str("matches"),
            ([], false) => write!(f, "matches, without a look at {}", self.unseen.join(", ")),
            ([one], _) => write!(f, "{one}"),
            (several, _) => several.iter().try_for_each(|one| write!(f, "\n    {one}")),
        }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: found {}, wanted {}", self.field, self.found, self.wanted)
    }
}
