//! Which document says what of a workload.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, SystemTime};

use proptest::{collection::vec, option, prelude::*, sample::select};

use super::*;
use crate::{
    mesh::testing::pod,
    rules::{RuleKey, RuleKind, value::Percentage},
};

const ROOT: &str = "heddle-system";

/// A document; `day` is that of its ConfigMap. Its shares are in percent.
fn rule(
    (namespace, name): (&str, &str),
    day: Option<u64>,
    labels: &[(&str, &str)],
    log: Option<u32>,
    spans: Option<u32>,
) -> Rule {
    let share = |percent: u32| Percentage::from_parts_per_million(percent * 10_000).unwrap();
    let spec = Telemetry {
        selector: Selector { match_labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect() },
        access_log: log.map(|log| AccessLogging { enabled: true, sampling_percentage: share(log) }),
        tracing: spans.map(|spans| Tracing { sampling_percentage: share(spans) }),
    };
    let key = RuleKey { kind: RuleKind::Telemetry, name: ObjectName::new(namespace, name) };
    let created = day.map(|day| SystemTime::UNIX_EPOCH + Duration::from_secs(day * 86_400));
    Rule { key, annotations: Default::default(), spec: Spec::Telemetry(spec), created }
}

fn snapshot<'r>(rules: impl IntoIterator<Item = &'r Rule>) -> Snapshot {
    let mut telemetry = TelemetryDocuments::new(ROOT.into());
    rules.into_iter().for_each(|rule| telemetry.replace(None, Some(rule)));
    Snapshot { telemetry, ..Snapshot::default() }
}

/// The shares of the log and of spans, in percent.
fn said(snapshot: &Snapshot, workload: &Workload) -> (Option<u32>, Option<u32>) {
    let found = snapshot.telemetry_of(workload);
    let percent = |share: Percentage| share.parts_per_million() / 10_000;
    (
        found.access_log.map(|log| percent(log.sampling_percentage)),
        found.tracing.map(|spans| percent(spans.sampling_percentage)),
    )
}

#[test]
fn the_most_specific_document_decides_over_log_and_spans_each_by_itself() {
    let web = pod("shop", &[("app", "web"), ("tier", "a")]);
    let mesh = rule((ROOT, "mesh"), Some(1), &[], Some(1), Some(2));
    let namespace = rule(("shop", "all"), Some(5), &[], Some(3), None);
    let of_web = rule(("shop", "web"), Some(9), &[("app", "web")], None, Some(4));
    let younger = rule(("shop", "again"), Some(10), &[("tier", "a")], Some(5), Some(6));
    let from_root = rule((ROOT, "web"), Some(8), &[("app", "web")], None, Some(7));
    let ageless = rule(("shop", "a"), None, &[("app", "web")], Some(8), Some(9));
    let others = [
        rule(("bank", "all"), Some(0), &[], Some(50), Some(50)),
        rule(("shop", "db"), Some(0), &[("app", "db")], Some(50), Some(50)),
    ];
    let all = |rules: &[&Rule]| said(&snapshot(rules.iter().copied().chain(&others)), &web);
    assert_eq!(all(&[]), (None, None));
    assert_eq!(all(&[&mesh]), (Some(1), Some(2)));
    assert_eq!(all(&[&mesh, &namespace]), (Some(3), Some(2)), "it says nothing of spans");
    assert_eq!(all(&[&mesh, &namespace, &of_web]), (Some(3), Some(4)));
    assert_eq!(
        all(&[&mesh, &namespace, &of_web, &younger]),
        (Some(5), Some(4)),
        "of two for the pod the older, of each part"
    );
    assert_eq!(all(&[&of_web, &from_root]), (None, Some(7)), "from the root namespace it is for the pod too");
    assert_eq!(all(&[&ageless, &younger]), (Some(5), Some(6)), "without an age it is the youngest");
    let in_root = pod(ROOT, &[]);
    assert_eq!(said(&snapshot([&mesh]), &in_root), (Some(1), Some(2)));
}

fn rules() -> impl Strategy<Value = Rule> {
    const LABELS: [&[(&str, &str)]; 5] =
        [&[], &[("app", "web")], &[("tier", "a")], &[("app", "web"), ("tier", "a")], &[("app", "db")]];
    let labels = select(&LABELS[..]);
    let names = (select(&[ROOT, "shop", "bank"][..]), select(&["a", "b", "c"][..]));
    (names, option::of(0..4_u64), labels, option::of(0..100_u32), option::of(0..100_u32))
        .prop_map(|(name, day, labels, log, spans)| rule(name, day, labels, log, spans))
}

proptest! {
    /// Against a reading of all documents, whatever came and went before.
    #[test]
    fn what_counts_is_what_all_documents_say_together(changes in vec((rules(), any::<bool>()), 0..30)) {
        let mut snapshot = snapshot([]);
        let mut in_force: std::collections::BTreeMap<ObjectName, Rule> = Default::default();
        for (rule, is_there) in changes {
            let name = rule.key.name.clone();
            let now = Some(&rule).filter(|_| is_there);
            snapshot.telemetry.replace(in_force.get(&name), now);
            match is_there {
                true => drop(in_force.insert(name, rule.clone())),
                false => drop(in_force.remove(&name)),
            }
        }
        for workload in [pod("shop", &[("app", "web"), ("tier", "a")]), pod("bank", &[("app", "db")]), pod(ROOT, &[])] {
            let mut levels: Vec<(u32, bool, Option<SystemTime>, &ObjectName, &Telemetry)> = Vec::new();
            for rule in in_force.values() {
                let Spec::Telemetry(spec) = &rule.spec else { unreachable!() };
                let namespace = &*rule.key.name.namespace;
                let reaches = namespace == ROOT || namespace == &*workload.namespace;
                if !reaches || !spec.selector.selects(&workload.labels) {
                    continue;
                }
                let level = if !spec.selector.is_everything() { 0 } else if namespace == ROOT { 2 } else { 1 };
                levels.push((level, rule.created.is_none(), rule.created, &rule.key.name, spec));
            }
            levels.sort_by(|a, b| (a.0, a.1, a.2, a.3).cmp(&(b.0, b.1, b.2, b.3)));
            let expected = WorkloadTelemetry {
                access_log: levels.iter().find_map(|said| said.4.access_log),
                tracing: levels.iter().find_map(|said| said.4.tracing),
            };
            prop_assert_eq!(snapshot.telemetry_of(&workload), expected);
        }
        for rule in in_force.values() {
            snapshot.telemetry.replace(Some(rule), None);
        }
        prop_assert!(snapshot.telemetry.is_empty(), "what goes leaves nothing");
    }
}
