//! What pods have of the agent that they share: series by pod, which go with the pod.
//!
//! There are as many as enrolled pods, which the kernel's maps bound.

use std::{collections::HashSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    ClosedLabel, Metrics, gauge_value,
    instrument::{advance, advance_seconds},
    labels::{PodBound, PodDirection},
};

pub(super) const POD_LABELS: &[&str] = &["namespace", "pod"];
pub(super) const POD_WAYS: &[&str] = &["namespace", "pod", "direction"];

/// Namespace and name.
type Name = [Arc<str>; 2];

/// The pods that have series.
#[derive(Debug, Default)]
pub(super) struct KnownPods(Mutex<HashSet<Name>>);

/// What one pod has now, and has had in all.
#[derive(Clone, Debug)]
pub struct PodUse {
    /// Kubernetes namespace.
    pub namespace: Arc<str>,
    /// Pod name.
    pub pod: Arc<str>,
    /// Time that data threads worked for it.
    pub worked: Duration,
    /// How often they put it off.
    pub put_off: u64,
    /// Connections, those that wait to be accepted, handshakes, connections of HTTP to servers and bytes that wait, by direction.
    pub ways: [(PodDirection, [usize; 5]); 2],
    /// Tunnels from it.
    pub tunnels: usize,
    /// How often it had to wait at each bound, and how long.
    pub waits: Vec<(PodBound, u64, Duration)>,
    /// What it may have: weight, connections, those that wait to be accepted, handshakes, bytes.
    pub limits: [u64; 5],
}

impl Metrics {
    /// These are the pods now: others have no series any more.
    pub fn set_pods(&self, pods: impl IntoIterator<Item = PodUse>) {
        let mut now = HashSet::new();
        for pod in pods {
            self.set_pod(&pod);
            now.insert([pod.namespace, pod.pod]);
        }
        let mut known = self.derived.pods.0.lock();
        known.difference(&now).for_each(|gone| self.forget_pod(gone));
        *known = now;
    }

    fn set_pod(&self, pod: &PodUse) {
        let name = [&*pod.namespace, &*pod.pod];
        advance_seconds(&self.pod_cpu.with_label_values(&name), pod.worked.as_secs_f64());
        advance(&self.pod_put_off.with_label_values(&name), pod.put_off);
        for (direction, counts) in &pod.ways {
            let labels = [name[0], name[1], direction.as_str()];
            for (gauge, count) in self.pod_ways().into_iter().zip(counts) {
                gauge.with_label_values(&labels).set(gauge_value(*count));
            }
        }
        self.pod_tunnels.with_label_values(&name).set(gauge_value(pod.tunnels));
        for (bound, count, waited) in &pod.waits {
            let labels = [name[0], name[1], bound.as_str()];
            advance(&self.pod_waits.with_label_values(&labels), *count);
            advance_seconds(&self.pod_wait_time.with_label_values(&labels), waited.as_secs_f64());
        }
        for (gauge, limit) in self.pod_limits().into_iter().zip(pod.limits) {
            gauge.with_label_values(&name).set(i64::try_from(limit).unwrap_or(i64::MAX));
        }
    }

    /// A series that is not there needs no removal.
    fn forget_pod(&self, [namespace, pod]: &Name) {
        let name = [&**namespace, &**pod];
        let _ = (self.pod_cpu.remove_label_values(&name), self.pod_put_off.remove_label_values(&name));
        for gauge in self.pod_limits().into_iter().chain([&self.pod_tunnels]) {
            let _ = gauge.remove_label_values(&name);
        }
        for direction in PodDirection::ALL {
            for gauge in self.pod_ways() {
                let _ = gauge.remove_label_values(&[name[0], name[1], direction.as_str()]);
            }
        }
        for bound in PodBound::ALL {
            let labels = [name[0], name[1], bound.as_str()];
            let _ = (self.pod_waits.remove_label_values(&labels), self.pod_wait_time.remove_label_values(&labels));
        }
    }

    fn pod_ways(&self) -> [&prometheus::IntGaugeVec; 5] {
        [&self.pod_connections, &self.pod_queue, &self.pod_handshakes, &self.pod_http, &self.pod_buffer_bytes]
    }

    fn pod_limits(&self) -> [&prometheus::IntGaugeVec; 5] {
        let (connections, handshakes) = (&self.pod_connections_limit, &self.pod_handshakes_limit);
        [&self.pod_weight, connections, &self.pod_queue_limit, handshakes, &self.pod_buffer_limit]
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn pod(name: &str, count: u64) -> PodUse {
        PodUse {
            namespace: "shop".into(),
            pod: name.into(),
            worked: Duration::from_millis(250 * count),
            put_off: count,
            ways: [(PodDirection::Outbound, [1, 2, 3, 4, 5]), (PodDirection::Inbound, [6, 7, 8, 9, 10])],
            waits: vec![(PodBound::InboundHandshakes, count, Duration::from_secs(count))],
            tunnels: 11,
            limits: [100, 7, 4096, 8, 9],
        }
    }

    #[test]
    fn each_pod_has_its_series_until_it_is_gone() {
        let (registry, metrics) = crate::observe::metrics::new().unwrap();
        let lines = || crate::observe::metrics::render(&registry, &metrics).unwrap();
        metrics.set_pods([pod("web", 1), pod("db", 5)]);
        metrics.set_pods([pod("web", 2), pod("db", 5)]);
        let text = lines();
        for line in [
            r#"heddle_pod_cpu_seconds_total{namespace="shop",pod="web"} 0.5"#,
            r#"heddle_pod_turns_put_off_total{namespace="shop",pod="web"} 2"#,
            r#"heddle_pod_connections{direction="outbound",namespace="shop",pod="web"} 1"#,
            r#"heddle_pod_buffer_bytes{direction="inbound",namespace="shop",pod="db"} 10"#,
            r#"heddle_pod_queued_connections{direction="inbound",namespace="shop",pod="db"} 7"#,
            r#"heddle_pod_http_connections{direction="outbound",namespace="shop",pod="web"} 4"#,
            r#"heddle_pod_tunnels{namespace="shop",pod="web"} 11"#,
            r#"heddle_pod_queue_limit{namespace="shop",pod="web"} 4096"#,
            r#"heddle_pod_waits_total{bound="inbound_handshakes",namespace="shop",pod="db"} 5"#,
            r#"heddle_pod_wait_seconds_total{bound="inbound_handshakes",namespace="shop",pod="web"} 2"#,
            r#"heddle_pod_buffer_limit_bytes{namespace="shop",pod="db"} 9"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        metrics.set_pods([pod("db", 5)]);
        let text = lines();
        assert!(!text.contains(r#"pod="web""#) && text.contains(r#"pod="db""#), "{text}");
    }
}
