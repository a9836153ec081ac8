//! What was decided, by which rule, and what only was to be reported. It borrows names of the snapshot.

use std::fmt;

use serde::Serialize;

use crate::{mesh::Policy, objects::ObjectName, rules::authorization_policy::Action};

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Refuse.
    Denied,
}

/// One rule of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRef<'a> {
    /// The policy.
    pub policy: &'a ObjectName,
    /// Counts from 0.
    pub rule: usize,
}

/// An answer and its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling<'a> {
    /// No ALLOW policy selects the workload, and no DENY rule matches.
    Unrestricted,
    /// By a rule of an ALLOW policy.
    AllowedBy(RuleRef<'a>),
    /// By a rule of a DENY policy.
    DeniedBy(RuleRef<'a>),
    /// ALLOW policies select the workload, of which this is the first, and none has a rule that matches.
    NothingAllows(&'a ObjectName),
}

/// A rule that matches and does not decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit<'a> {
    /// The rule: the first of its policy that matches.
    pub rule: RuleRef<'a>,
    /// What its policy is for.
    pub action: Action,
    /// Whether that is on trial. If not, it is an AUDIT policy.
    pub is_dry_run: bool,
}

/// What is to happen, and what is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// What is decided.
    pub ruling: Ruling<'a>,
    /// What would be decided if the policies on trial were in force; `None` where none of them selects the workload.
    pub on_trial: Option<Ruling<'a>>,
    /// AUDIT policies and policies on trial that match. Empty, without memory of its own, as a rule.
    pub hits: Vec<Hit<'a>>,
}

impl<'a> Decision<'a> {
    /// The answer.
    pub fn verdict(&self) -> Verdict {
        self.ruling.verdict()
    }

    /// The rule that decided. A refusal because nothing allows has none.
    pub fn by(&self) -> Option<RuleRef<'a>> {
        self.ruling.by()
    }
}

impl<'a> Ruling<'a> {
    /// The answer.
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Unrestricted | Self::AllowedBy(_) => Verdict::Allowed,
            Self::DeniedBy(_) | Self::NothingAllows(_) => Verdict::Denied,
        }
    }

    /// The rule that decided.
    pub fn by(&self) -> Option<RuleRef<'a>> {
        match self {
            Self::AllowedBy(rule) | Self::DeniedBy(rule) => Some(*rule),
            Self::Unrestricted | Self::NothingAllows(_) => None,
        }
    }

    /// The policy to name in logs: the one that decided, or the first of those of which none allows.
    pub fn policy(&self) -> Option<&'a ObjectName> {
        match self {
            Self::AllowedBy(rule) | Self::DeniedBy(rule) => Some(rule.policy),
            Self::NothingAllows(policy) => Some(policy),
            Self::Unrestricted => None,
        }
    }
}

/// What the policies that select a workload say together, one after the other.
#[derive(Debug, Default)]
pub(super) struct Tally<'a> {
    in_force: Votes<'a>,
    on_trial: Votes<'a>,
    has_trials: bool,
    hits: Vec<Hit<'a>>,
}

/// The first of each.
#[derive(Debug, Default)]
struct Votes<'a> {
    denied: Option<RuleRef<'a>>,
    allowed: Option<RuleRef<'a>>,
    restricted: Option<&'a ObjectName>,
}

impl<'a> Tally<'a> {
    /// Whether anything can still depend on a policy.
    pub(super) fn depends_on(&self, policy: &Policy) -> bool {
        let is_decided = match policy.spec.action {
            Action::Deny => self.in_force.denied.is_some(),
            Action::Allow => self.in_force.denied.is_some() || self.in_force.allowed.is_some(),
            Action::Audit => false,
        };
        policy.is_dry_run || !is_decided
    }

    /// Takes over which rule of a policy matches.
    pub(super) fn add(&mut self, policy: &'a Policy, first_match: Option<usize>) {
        let (name, action, is_dry_run) = (&policy.name, policy.spec.action, policy.is_dry_run);
        let matched = first_match.map(|rule| RuleRef { policy: name, rule });
        let votes = if is_dry_run { &mut self.on_trial } else { &mut self.in_force };
        match action {
            Action::Deny => votes.denied = votes.denied.or(matched),
            Action::Allow => {
                votes.allowed = votes.allowed.or(matched);
                votes.restricted = votes.restricted.or(Some(name));
            }
            Action::Audit => {}
        }
        self.has_trials |= is_dry_run && action != Action::Audit;
        if let Some(rule) = matched.filter(|_| is_dry_run || action == Action::Audit) {
            self.hits.push(Hit { rule, action, is_dry_run });
        }
    }
}

impl<'a> Votes<'a> {
    fn ruling(&self) -> Ruling<'a> {
        match (self.denied, self.allowed, self.restricted) {
            (Some(rule), _, _) => Ruling::DeniedBy(rule),
            (None, Some(rule), _) => Ruling::AllowedBy(rule),
            (None, None, Some(policy)) => Ruling::NothingAllows(policy),
            (None, None, None) => Ruling::Unrestricted,
        }
    }

    /// What is in force comes before what is on trial, where both say the same.
    fn or(&self, other: &Self) -> Self {
        Self {
            denied: self.denied.or(other.denied),
            allowed: self.allowed.or(other.allowed),
            restricted: self.restricted.or(other.restricted),
        }
    }
}

impl<'a> From<Tally<'a>> for Decision<'a> {
    fn from(tally: Tally<'a>) -> Self {
        let Tally { in_force, on_trial, has_trials, hits } = tally;
        let on_trial = has_trials.then(|| in_force.or(&on_trial).ruling());
        Self { ruling: in_force.ruling(), on_trial, hits }
    }
}

impl fmt::Display for RuleRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rules[{}] of {}", self.rule, self.policy)
    }
}

/// Such as `denied by rules[0] of shop/no-admins`.
impl fmt::Display for Ruling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unrestricted => {
                f.write_str("allowed, since no ALLOW policy selects the workload and no DENY rule matches")
            }
            Self::AllowedBy(rule) => write!(f, "allowed by {rule}"),
            Self::DeniedBy(rule) => write!(f, "denied by {rule}"),
            Self::NothingAllows(policy) => {
                write!(
                    f,
                    "denied, since ALLOW policies such as {policy} select the workload and none of their rules matches"
                )
            }
        }
    }
}

impl fmt::Display for Hit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{} matches by {}", self.action, if self.is_dry_run { " on trial" } else { "" }, self.rule)
    }
}
