//! Circuit breakers: how much of this node may be under way to one Service port, as Envoy's four limits.
//!
//! All is counted, so that limits that come later know what is there; only what a DestinationRule asks for is refused.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::room::Room;
use crate::{
    mesh::ServiceName,
    observe::{ClosedLabel as _, OverflowLimit},
    rules::destination_rule::{ConnectionPool, HttpSettings, PortSettings, TcpSettings},
};

/// The breakers of this node, one for each Service port that was used; [`Breakers::retain`] bounds them.
#[derive(Debug, Default)]
pub struct Breakers {
    all: Mutex<HashMap<(ServiceName, u16), Arc<Breaker>>>,
}

/// What is under way to one Service port.
#[derive(Debug, Default)]
pub struct Breaker {
    rooms: [Room; OverflowLimit::ALL.len()],
}

/// As many are under way as a DestinationRule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} {} are under way on this node already; raise {} of the DestinationRule if it can take more", what(*name), field(*name))]
pub struct Overflow {
    /// How many are allowed.
    pub limit: u32,
    /// Of what.
    pub name: OverflowLimit,
}

/// One that is under way, until it is dropped.
#[derive(Debug)]
pub struct Underway {
    breaker: Arc<Breaker>,
    name: OverflowLimit,
}

/// What a DestinationRule says of connections, with the defaults of config.md.
#[derive(Clone, Copy, Debug, Default)]
pub struct PoolSettings<'a>(pub Option<&'a ConnectionPool>);

/// Envoy's defaults for what a document leaves open.
const LIMIT: u32 = 1024;
const RETRIES: u32 = 3;

const HTTP_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

impl Breakers {
    /// That of a Service port.
    pub fn of(&self, service: &ServiceName, port: u16) -> Arc<Breaker> {
        Arc::clone(self.all.lock().entry((service.clone(), port)).or_default())
    }

    /// What one more to a Service port would be refused for now, without counting it: for who explains.
    pub fn full(
        &self,
        service: &ServiceName,
        port: u16,
        name: OverflowLimit,
        settings: PoolSettings<'_>,
    ) -> Option<Overflow> {
        let bound = settings.limit(name)?;
        let underway = self.all.lock().get(&(service.clone(), port)).map_or(0, |breaker| breaker.underway(name));
        (underway >= bound).then_some(Overflow { limit: bound, name })
    }

    /// Forgets those of Service ports that are not there. What is under way to them still gives back.
    pub fn retain(&self, there: impl Fn(&ServiceName, u16) -> bool) {
        self.all.lock().retain(|(service, port), _| there(service, *port));
    }

    /// How many refuse now.
    pub fn open(&self, name: OverflowLimit) -> usize {
        self.all.lock().values().filter(|breaker| breaker.is_open(name)).count()
    }
}

impl Breaker {
    /// Counts one more, if that is within the limit.
    pub fn begin(self: &Arc<Self>, name: OverflowLimit, settings: PoolSettings<'_>) -> Result<Underway, Overflow> {
        let limit = settings.limit(name);
        let bound = limit.unwrap_or(u32::MAX);
        match self.room(name).take(bound) {
            true => Ok(Underway { breaker: Arc::clone(self), name }),
            false => Err(Overflow { limit: bound, name }),
        }
    }

    /// Whether it refuses: one was refused, and none has ended since.
    pub fn is_open(&self, name: OverflowLimit) -> bool {
        self.room(name).is_full()
    }

    /// How many are under way.
    pub fn underway(&self, name: OverflowLimit) -> u32 {
        self.room(name).taken()
    }

    fn room(&self, name: OverflowLimit) -> &Room {
        &self.rooms[name.index()]
    }
}

impl Underway {
    /// Whether it counts here.
    pub fn is_of(&self, breaker: &Arc<Breaker>) -> bool {
        Arc::ptr_eq(&self.breaker, breaker)
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.breaker.room(self.name).give_back();
    }
}

impl<'a> PoolSettings<'a> {
    /// Those of a destination's port.
    pub fn of(settings: Option<&'a PortSettings>) -> Self {
        Self(settings.and_then(|settings| settings.connection_pool.as_ref()))
    }
}

impl PoolSettings<'_> {
    /// The limit; `None` where no document asks for any.
    pub fn limit(self, name: OverflowLimit) -> Option<u32> {
        let pool = self.0?;
        let tcp = |field: fn(&TcpSettings) -> Option<NonZeroU32>| pool.tcp.as_ref().and_then(field);
        let http = |field: fn(&HttpSettings) -> Option<NonZeroU32>| pool.http.as_ref().and_then(field);
        let (set, default) = match name {
            OverflowLimit::Connections => (tcp(|tcp| tcp.max_connections), LIMIT),
            OverflowLimit::Pending => (http(|http| http.http1_max_pending_requests), LIMIT),
            OverflowLimit::Requests => (http(|http| http.http2_max_requests), LIMIT),
            OverflowLimit::Retries => (http(|http| http.max_retries), RETRIES),
        };
        Some(set.map_or(default, NonZeroU32::get))
    }

    /// How long opening a connection may take, where a document says it.
    pub fn own_connect_timeout(self) -> Option<Duration> {
        self.tcp().and_then(|tcp| tcp.connect_timeout)
    }

    /// After how long without a request a connection is closed; `None` for never.
    pub fn http_idle_timeout(self) -> Option<Duration> {
        let idle = self.http().and_then(|http| http.idle_timeout).unwrap_or(HTTP_IDLE_TIMEOUT);
        (!idle.is_zero()).then_some(idle)
    }

    /// How many requests one connection carries; `None` for no limit.
    pub fn max_requests_per_connection(self) -> Option<NonZeroU32> {
        self.http().and_then(|http| http.max_requests_per_connection)
    }

    fn tcp(&self) -> Option<&TcpSettings> {
        self.0.and_then(|pool| pool.tcp.as_ref())
    }

    fn http(&self) -> Option<&HttpSettings> {
        self.0.and_then(|pool| pool.http.as_ref())
    }
}

fn what(limit: OverflowLimit) -> &'static str {
    match limit {
        OverflowLimit::Connections => "connections",
        OverflowLimit::Pending => "requests without a connection",
        OverflowLimit::Requests => "requests",
        OverflowLimit::Retries => "retries",
    }
}

fn field(limit: OverflowLimit) -> &'static str {
    match limit {
        OverflowLimit::Connections => "connectionPool.tcp.maxConnections",
        OverflowLimit::Pending => "connectionPool.http.http1MaxPendingRequests",
        OverflowLimit::Requests => "connectionPool.http.http2MaxRequests",
        OverflowLimit::Retries => "connectionPool.http.maxRetries",
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const NAMES: [OverflowLimit; 4] =
        [OverflowLimit::Connections, OverflowLimit::Pending, OverflowLimit::Requests, OverflowLimit::Retries];

    #[test]
    fn absent_fields_have_envoys_defaults_only_where_a_pool_is_there() {
        let pool = ConnectionPool::default();
        let limits = |settings: PoolSettings<'_>| NAMES.map(|name| settings.limit(name));
        assert_eq!(limits(PoolSettings(Some(&pool))), [Some(1024), Some(1024), Some(1024), Some(3)]);
        assert_eq!(limits(PoolSettings(None)), [None; 4]);
    }

    #[test]
    fn a_full_one_refuses_and_a_dropped_guard_gives_back() {
        let tcp = TcpSettings { max_connections: NonZeroU32::new(2), ..TcpSettings::default() };
        let pool = ConnectionPool { tcp: Some(tcp), http: None };
        let breaker = Arc::new(Breaker::default());
        let begin = || breaker.begin(OverflowLimit::Connections, PoolSettings(Some(&pool)));
        let (first, _second) = (begin().unwrap(), begin().unwrap());
        assert_eq!(begin().unwrap_err(), Overflow { limit: 2, name: OverflowLimit::Connections });
        assert!(breaker.begin(OverflowLimit::Requests, PoolSettings(Some(&pool))).is_ok(), "others are not touched");
        drop(first);
        assert!(begin().is_ok());
        assert_eq!(breaker.underway(OverflowLimit::Connections), 1);
    }

    #[test]
    fn without_a_pool_all_is_counted_and_nothing_refused() {
        let breaker = Arc::new(Breaker::default());
        let all: Vec<_> =
            (0..5_000).map(|_| breaker.begin(OverflowLimit::Retries, PoolSettings(None)).unwrap()).collect();
        assert_eq!(breaker.underway(OverflowLimit::Retries), 5_000);
        drop(all);
        assert_eq!(breaker.underway(OverflowLimit::Retries), 0);
    }

    #[test]
    fn one_is_open_from_a_refusal_until_there_is_room() {
        let tcp = TcpSettings { max_connections: NonZeroU32::new(1), ..TcpSettings::default() };
        let pool = ConnectionPool { tcp: Some(tcp), http: None };
        let service = ServiceName { namespace: "shop".into(), name: "cart".into() };
        let breakers = Breakers::default();
        let begin = || breakers.of(&service, 80).begin(OverflowLimit::Connections, PoolSettings(Some(&pool)));
        let open = || NAMES.map(|name| breakers.open(name));
        let only = begin().unwrap();
        assert_eq!(open(), [0; 4], "full, and nobody was refused");
        begin().unwrap_err();
        assert_eq!(open(), [1, 0, 0, 0]);
        drop(only);
        assert_eq!(open(), [0; 4]);
        let _again = begin().unwrap();
        begin().unwrap_err();
        // Without a limit the next one passes.
        let _more = breakers.of(&service, 80).begin(OverflowLimit::Connections, PoolSettings(None)).unwrap();
        assert_eq!(open(), [0; 4]);
    }

    #[test]
    fn one_breaker_for_each_service_port_until_it_goes() {
        let service = ServiceName { namespace: "shop".into(), name: "cart".into() };
        let breakers = Breakers::default();
        let first = breakers.of(&service, 80);
        assert!(Arc::ptr_eq(&first, &breakers.of(&service, 80)) && !Arc::ptr_eq(&first, &breakers.of(&service, 81)));
        breakers.retain(|_, port| port == 81);
        assert!(!Arc::ptr_eq(&first, &breakers.of(&service, 80)));
    }

    #[test]
    fn zero_means_never_idle_and_absent_the_default() {
        let never = HttpSettings { idle_timeout: Some(Duration::ZERO), ..HttpSettings::default() };
        let pool = ConnectionPool { tcp: None, http: Some(never) };
        assert_eq!(PoolSettings(Some(&pool)).http_idle_timeout(), None);
        let none = PoolSettings(None);
        assert_eq!((none.http_idle_timeout(), none.own_connect_timeout()), (Some(HTTP_IDLE_TIMEOUT), None));
        assert_eq!(none.max_requests_per_connection(), None);
    }
}
