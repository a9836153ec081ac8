//! What has a bound and is neither traffic nor a pod's: memories of the node, those who watch, clients of endpoints, lines of the
//! agent's own log.

use super::{ClosedLabel, GaugeGuard, Metrics, gauge_value, instrument::advance, labels::closed_label};

closed_label! {
    /// What is remembered of servers, clients and pods.
    Remembered {
        /// What Service ports were found to speak.
        Protocols = "protocols",
        /// Health and load of endpoints.
        Endpoints = "endpoints",
        /// Endpoints that belong to clients and sessions, and which these are.
        Affinity = "affinity",
        /// Tables of consistent hashing.
        HashTables = "hash_tables",
        /// Clients and header values that RateLimits count apart.
        RateLimitKeys = "rate_limit_keys",
        /// Pods whose connections the kernel gives other addresses than the pod has: they do not go natively.
        OtherAddresses = "other_addresses",
    }
}

closed_label! {
    /// Who sees what happens now.
    Watching {
        /// The sums of each second.
        Flows = "flows",
        /// Each connection and request, at its end.
        Taps = "taps",
        /// What there was, counted while somebody records.
        Recordings = "recordings",
    }
}

closed_label! {
    /// What those who watch have not seen.
    WatchLoss {
        /// Seconds that a watcher of flows was too slow for.
        Seconds = "seconds",
        /// Connections and requests whose flow was one too many of its second.
        Flows = "flows",
        /// Ends that a tap was too slow for.
        Ends = "ends",
        /// Connections and requests whose flow was one too many of its recording.
        Recorded = "recorded",
    }
}

closed_label! {
    /// One of the agent's own listeners.
    OwnListener {
        /// The admin endpoint.
        Admin = "admin",
        /// The admin socket.
        Socket = "socket",
        /// Metrics.
        Metrics = "metrics",
        /// Health.
        Health = "health",
    }
}

impl Metrics {
    /// How much is remembered, and how much was forgotten for want of room, in all.
    pub fn set_remembered(&self, what: Remembered, (kept, forgotten): (usize, u64)) {
        self.remembered.of(what).set(gauge_value(kept));
        advance(self.forgotten.of(what), forgotten);
    }

    /// How many watch.
    pub(in crate::observe) fn set_watchers(&self, how: Watching, count: usize) {
        self.watchers.of(how).set(gauge_value(count));
    }

    /// What those who watch have not seen, in all.
    pub(in crate::observe) fn set_watch_lost(&self, what: WatchLoss, lost: u64) {
        advance(self.watch_lost.of(what), lost);
    }

    /// Entries of one of the kernel's tables whose oldest entries make room.
    pub fn set_map_recent_entries(&self, map: &'static str, entries: usize) {
        self.map_recent_entries.with_label_values(&[map]).set(gauge_value(entries));
    }

    /// Lines of the agent's own log that nobody took, in all.
    pub fn set_log_dropped(&self, total: u64) {
        advance(&self.log_dropped, total);
    }

    /// A connection of a pod could not be accepted.
    pub fn accept_failed(&self) {
        self.accept_failures.inc();
    }

    /// A client of one of the agent's own listeners is connected while the returned guard lives.
    pub fn own_listener_connected(&self, listener: OwnListener) -> GaugeGuard {
        GaugeGuard::raise(self.admin_connections.of(listener))
    }
}
