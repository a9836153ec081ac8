//! Which PeerAuthentication decides over a port of a workload: an index of those in force.
//!
//! In: the rules in force. Out: for a workload and a port, the mode that documents say there, and which of them says it.
//! The most specific document decides: of the port, of the workload, of the namespace, of the mesh; of two that are as
//! specific the older, also where it says nothing. What no document says is not known here: that is the agent's own
//! configuration.

mod selecting;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
    time::SystemTime,
};

use self::selecting::Selecting;
use super::{Rules, Workload};
use crate::{
    objects::ObjectName,
    rules::{
        Rule, RuleKey, RuleKind, Spec,
        peer_authentication::{Mtls, PeerAuthentication, PeerMtlsMode},
        value::Selector,
    },
};

/// Which connections a port takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Those with a proven identity.
    Strict,
    /// All.
    Permissive,
    /// All, and clients in the mesh come in plaintext.
    Disable,
}

/// What a document says about a port of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    /// The mode.
    pub mode: Mode,
    /// The PeerAuthentication.
    pub document: &'a ObjectName,
    /// What the document says it of.
    pub level: Level,
}

/// How specific a statement is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Of all workloads: a document of the root namespace without a selector.
    Mesh,
    /// Of a namespace: a document without a selector.
    Namespace,
    /// Of the workloads that a selector selects.
    Workload,
    /// Of one port of these.
    Port(u16),
}

/// All PeerAuthentications in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Modes {
    /// Those of the root namespace.
    root: Arc<InNamespace>,
    /// Those of the others, as far as they have any.
    namespaces: HashMap<Arc<str>, Arc<InNamespace>>,
}

/// The documents of one namespace.
#[derive(Debug, Default, PartialEq)]
struct InNamespace {
    /// For all workloads that the namespace governs.
    general: Option<Document>,
    selecting: Selecting,
}

/// One document.
#[derive(Clone, Debug, PartialEq)]
struct Document {
    age: Age,
    selector: Selector,
    /// `None` where it says nothing.
    mode: Option<Mode>,
    ports: BTreeMap<u16, Mode>,
}

/// Orders documents, the oldest first: by the ConfigMap's `creationTimestamp`, those without after all others, then by
/// namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Age {
    unknown: bool,
    created: Option<SystemTime>,
    name: ObjectName,
}

impl Modes {
    /// What documents say about a port of a workload. It looks at the documents that are kept under one of the
    /// workload's labels, and at no others.
    pub fn of(&self, workload: &Workload, port: u16) -> Option<Statement<'_>> {
        let own = self.namespaces.get(&workload.namespace);
        let both = [own, Some(&self.root)].into_iter().flatten();
        let selecting = both.filter_map(|namespace| namespace.selecting.oldest(&workload.labels));
        let narrow = selecting.min_by_key(|document| &document.age).and_then(|document| document.narrow(port));
        narrow
            .or_else(|| own.and_then(|own| own.general.as_ref()?.says(Level::Namespace)))
            .or_else(|| self.root.general.as_ref()?.says(Level::Mesh))
    }

    /// The same index after some rules have changed. The work grows with the documents of the namespaces that have a
    /// changed one.
    pub(super) fn updated(&self, rules: &Rules, changed: &BTreeSet<RuleKey>, root_namespace: &Arc<str>) -> Self {
        let mut modes = self.clone();
        let ours = changed.iter().filter(|key| key.kind == RuleKind::PeerAuthentication);
        let namespaces: BTreeSet<&Arc<str>> = ours.map(|key| &key.name.namespace).collect();
        for namespace in namespaces {
            match InNamespace::build(rules, namespace) {
                documents if namespace == root_namespace => modes.root = Arc::new(documents),
                documents if documents == InNamespace::default() => drop(modes.namespaces.remove(namespace)),
                documents => drop(modes.namespaces.insert(Arc::clone(namespace), Arc::new(documents))),
            }
        }
        modes
    }
}

impl InNamespace {
    fn build(rules: &Rules, namespace: &Arc<str>) -> Self {
        let name = ObjectName { namespace: Arc::clone(namespace), name: "".into() };
        let first = RuleKey { kind: RuleKind::PeerAuthentication, name };
        let is_here = |key: &RuleKey| key.kind == RuleKind::PeerAuthentication && key.name.namespace == *namespace;
        let rules = rules.range(first..).take_while(|(key, _)| is_here(key)).map(|(_, rule)| rule);
        let (selecting, general): (Vec<_>, Vec<_>) =
            rules.filter_map(|rule| Document::of(rule)).partition(|document| !document.selector.is_everything());
        let general = general.into_iter().min_by(|a, b| a.age.cmp(&b.age));
        Self { general, selecting: Selecting::of(selecting) }
    }
}

impl Document {
    fn of(rule: &Rule) -> Option<Self> {
        let Spec::PeerAuthentication(PeerAuthentication { selector, mtls, port_level_mtls }) = &rule.spec else {
            return None;
        };
        let ports = port_level_mtls.iter().filter_map(|(port, mtls)| Some((port.get(), said(mtls)?)));
        Some(Self {
            age: Age { unknown: rule.created.is_none(), created: rule.created, name: rule.key.name.clone() },
            selector: selector.clone(),
            mode: said(mtls),
            ports: ports.collect(),
        })
    }

    /// What it says of a port of a workload that it selects.
    fn narrow(&self, port: u16) -> Option<Statement<'_>> {
        match self.ports.get(&port) {
            Some(mode) => Some(Statement { mode: *mode, document: &self.age.name, level: Level::Port(port) }),
            None => self.says(Level::Workload),
        }
    }

    fn says(&self, level: Level) -> Option<Statement<'_>> {
        Some(Statement { mode: self.mode?, document: &self.age.name, level })
    }
}

/// The mode in the words of the document; `None` inherits.
fn said(mtls: &Mtls) -> Option<Mode> {
    match mtls.mode {
        PeerMtlsMode::Unset => None,
        PeerMtlsMode::Disable => Some(Mode::Disable),
        PeerMtlsMode::Permissive => Some(Mode::Permissive),
        PeerMtlsMode::Strict => Some(Mode::Strict),
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Strict => "STRICT",
            Self::Permissive => "PERMISSIVE",
            Self::Disable => "DISABLE",
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mesh => f.write_str("the mesh"),
            Self::Namespace => f.write_str("its namespace"),
            Self::Workload => f.write_str("the pods that it selects"),
            Self::Port(port) => write!(f, "port {port} of the pods that it selects"),
        }
    }
}

#[cfg(test)]
mod tests;
