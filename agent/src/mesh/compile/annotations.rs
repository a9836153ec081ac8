//! What a pod's own object says of its capture: its network namespace, what stays out of the mesh, and what is probed.
//!
//! A value that cannot be read is reported and leaves nothing out: the traffic goes through the mesh (fail closed).

use std::{path::PathBuf, str::FromStr, sync::Arc};

use crate::{
    mesh::{CaptureRules, LocalPod, Netns},
    objects::Pod,
    shares::SaidShare,
};

const NETNS: &str = "heddle.io/netns";
const EXCLUDE_INBOUND_PORTS: &str = "heddle.io/exclude-inbound-ports";
const EXCLUDE_OUTBOUND_PORTS: &str = "heddle.io/exclude-outbound-ports";
const EXCLUDE_OUTBOUND_CIDRS: &str = "heddle.io/exclude-outbound-cidrs";
const OPAQUE_PORTS: &str = "heddle.io/opaque-ports";

const PORTS: &str = "port numbers from 1 to 65535, separated by commas";
const CIDRS: &str = "networks such as 10.0.0.0/8 or fd00::/8, separated by commas";

/// What capture needs of an enrolled pod of this node. `None` if its network namespace is not known.
pub(super) fn local_pod(pod: &Pod, problems: &mut Vec<String>) -> Option<LocalPod> {
    let netns = match pod.annotations.get(NETNS) {
        Some(path) if path.starts_with('/') => Netns::Path(PathBuf::from(path)),
        // Pods of a kubelet have one; a pod that is written by hand has none, and its uid is found nowhere on the machine.
        None if pod.uid.is_some() => Netns::OfUid,
        found => {
            let found = found.map_or("nothing".to_owned(), |path| format!("{path:?}"));
            let message = format!(
                "annotation {NETNS}: found {found}, allowed: an absolute path such as /run/netns/NAME; \
                 until then the pod is not captured and its peers cannot reach it"
            );
            problems.push(message);
            return None;
        }
    };
    let rules = CaptureRules {
        exclude_inbound_ports: ports(pod, EXCLUDE_INBOUND_PORTS, problems),
        exclude_outbound_ports: ports(pod, EXCLUDE_OUTBOUND_PORTS, problems),
        exclude_outbound_cidrs: list(pod, EXCLUDE_OUTBOUND_CIDRS, CIDRS, problems),
        probed_ports: Arc::clone(&pod.probed_ports),
    };
    Some(LocalPod { netns, rules, share: SaidShare::default() })
}

/// The ports that are never parsed as HTTP.
pub(super) fn opaque_ports(pod: &Pod, problems: &mut Vec<String>) -> Vec<u16> {
    ports(pod, OPAQUE_PORTS, problems)
}

fn ports(pod: &Pod, annotation: &str, problems: &mut Vec<String>) -> Vec<u16> {
    let ports: Vec<std::num::NonZeroU16> = list(pod, annotation, PORTS, problems);
    ports.into_iter().map(std::num::NonZeroU16::get).collect()
}

/// One bad item spoils the whole value: half an exclusion was never meant.
fn list<T: FromStr + Ord>(pod: &Pod, annotation: &str, allowed: &str, problems: &mut Vec<String>) -> Vec<T> {
    let Some(text) = pod.annotations.get(annotation) else { return Vec::new() };
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let mut values = Vec::new();
    for item in items {
        let Ok(value) = item.parse() else {
            let message = format!(
                "annotation {annotation}: found {item:?} in {text:?}, allowed: {allowed}; until then the annotation has no effect"
            );
            problems.push(message);
            return Vec::new();
        };
        values.push(value);
    }
    values.sort();
    values.dedup();
    values
}
