//! How a client stays with one endpoint (GEP-1619): by the sessions of the rule, or by those of the Service that gets the
//! request, where an XBackendTrafficPolicy has it keep some.
//!
//! The session says which backend gets the request, and the backend whose policy counts. So all that may count are read
//! first ([`Stay::possible`]), and one is kept when the backend is known ([`Stay::of`]). Where only some backends of a rule
//! have a policy, only these keep sessions.

use std::{net::SocketAddr, time::SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    balance::session::{CookieScope, Session, SessionKey, Sessions},
    mesh::{ServiceName, Snapshot},
    route::http::Matched,
    rules::gateway::SessionPersistence,
};

/// The sessions of a rule or of a Service, and the one that a request came with.
pub(crate) struct Stay<'s> {
    /// Whose they are; those of a rule are for all its backends.
    service: Option<ServiceName>,
    sessions: Sessions<'s>,
    came_with: Option<Session>,
    /// Where its cookie is of use. That of a policy has none: routes with any paths lead to its Service.
    path: Option<String>,
}

impl<'s> Stay<'s> {
    /// All that may count for a request.
    pub(crate) fn possible(
        key: &'s SessionKey,
        snapshot: &'s Snapshot,
        dialled: &ServiceName,
        matched: Option<&Matched<'s>>,
        headers: &HeaderMap,
    ) -> Vec<Self> {
        let now = SystemTime::now();
        let read = |service, persistence: &'s SessionPersistence, place: String, path| {
            let sessions = Sessions::new(key, persistence, place);
            let came_with = sessions.read(headers, now);
            Self { service, sessions, came_with, path }
        };
        if let Some(matched) = matched
            && let Some(persistence) = matched.session()
        {
            let place = format!("{} {}", matched.route(), matched.rule());
            return vec![read(None, persistence, place, Some(matched.cookie_path()))];
        }
        if !snapshot.has_backend_policies() {
            return Vec::new();
        }
        let of_service = |service: ServiceName| {
            let persistence = snapshot.backend_policy(&service)?.session_persistence.as_ref()?;
            // Rules share no sessions, not even those of one Service.
            let place = match matched {
                Some(matched) => format!("Service {service} {} {}", matched.route(), matched.rule()),
                None => format!("Service {service}"),
            };
            Some(read(Some(service), persistence, place, None))
        };
        match matched {
            Some(matched) => matched.backend_services().filter_map(of_service).collect(),
            None => of_service(dialled.clone()).into_iter().collect(),
        }
    }

    /// The endpoint that the request's session asks for.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.came_with.as_ref().map(Session::endpoint)
    }

    /// Those that count once it is known which Service gets the request.
    pub(crate) fn of(possible: Vec<Self>, service: &ServiceName) -> Option<Self> {
        possible.into_iter().find(|stay| stay.service.as_ref().is_none_or(|own| own == service))
    }

    /// What the client is told after an endpoint's answer.
    pub(super) fn told(&self, endpoint: SocketAddr) -> Option<(HeaderName, HeaderValue)> {
        let scope = CookieScope { path: self.path.as_deref(), secure: false };
        self.sessions.write(endpoint, self.came_with, scope, SystemTime::now())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::{collections::BTreeMap, sync::Arc};

    use http::{Method, header};

    use super::*;
    use crate::{
        mesh::{Compiler, testing},
        objects::{Change, ConfigMap, Object, ObjectName},
        route::http::{Decision, Request, decide},
        rules::http_route::Scheme,
        target::RequestTarget,
    };

    fn document(kind: &str, version: &str, spec: &str) -> Change {
        let text = format!("{{apiVersion: {version}, kind: {kind}, metadata: {{name: a}}, spec: {spec}}}");
        Change::Put(Object::ConfigMap(Arc::new(ConfigMap {
            name: ObjectName::new("shop", &kind.to_lowercase()),
            uid: None,
            created: None,
            data: BTreeMap::from([("a".to_owned(), text.into())]),
        })))
    }

    /// Two rules of Service web to Service v1, the first with sessions of its own or not, and a policy for Service v1.
    fn snapshot(of_rule: &str) -> Snapshot {
        let backends = "backendRefs: [{name: v2, port: 80}, {name: v1, port: 80, weight: 0}]";
        let rules = format!(
            "[{{matches: [{{path: {{value: /a}}}}], {of_rule} {backends}}}, {{matches: [{{path: {{value: /b}}}}], {backends}}}]"
        );
        let route = format!("{{parentRefs: [{{group: \"\", kind: Service, name: web}}], rules: {rules}}}");
        let policy = "{targetRefs: [{group: \"\", kind: Service, name: v1}], sessionPersistence: {sessionName: stay}}";
        let outcome = Compiler::new(testing::settings()).apply([
            document("HTTPRoute", "gateway.networking.k8s.io/v1", &route),
            document("XBackendTrafficPolicy", "gateway.networking.x-k8s.io/v1alpha1", policy),
        ]);
        for status in outcome.documents.unwrap() {
            assert_eq!(status.state.as_str(), "accepted", "{status}");
        }
        outcome.snapshot.unwrap()
    }

    fn service(name: &str) -> ServiceName {
        ServiceName { namespace: "shop".into(), name: name.into() }
    }

    fn endpoint() -> SocketAddr {
        "10.0.0.7:8080".parse().unwrap()
    }

    /// What may count for a request with this path and cookie.
    fn possible<'s>(key: &'s SessionKey, snapshot: &'s Snapshot, path: &str, cookie: Option<&str>) -> Vec<Stay<'s>> {
        let target = RequestTarget::parse(path).unwrap();
        let headers: HeaderMap =
            cookie.into_iter().map(|cookie| (header::COOKIE, HeaderValue::try_from(cookie).unwrap())).collect();
        let (method, scheme) = (&Method::GET, Scheme::Http);
        let request = Request { method, target: &target, headers: &headers, scheme, authority: "web" };
        let table = snapshot.routes().table(&service("web"), 80, "shop").map(AsRef::as_ref);
        let Decision::Rule(matched) = decide(table, &request) else { panic!("no rule for {path}") };
        Stay::possible(key, snapshot, &service("web"), Some(&matched), &headers)
    }

    fn set_cookie(stay: &Stay<'_>) -> String {
        stay.told(endpoint()).unwrap().1.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_policy_counts_for_the_backend_that_it_names_and_rules_share_nothing() {
        let (key, snapshot) = (SessionKey::new(b"a secret").unwrap(), snapshot(""));
        let first = possible(&key, &snapshot, "/a", None);
        assert!(Stay::of(first, &service("v2")).is_none(), "only v1 has a policy");
        let first = Stay::of(possible(&key, &snapshot, "/a", None), &service("v1")).unwrap();
        let told = set_cookie(&first);
        assert!(told.starts_with("stay=") && !told.contains("Path="), "{told}");
        let cookie = told.split(';').next().unwrap();
        let asked = |path| possible(&key, &snapshot, path, Some(cookie)).iter().find_map(Stay::endpoint);
        assert_eq!((asked("/a"), asked("/a/x"), asked("/b")), (Some(endpoint()), Some(endpoint()), None));
    }

    #[test]
    fn a_rules_own_sessions_come_first_and_are_for_all_its_backends() {
        let (key, snapshot) = (SessionKey::new(b"a secret").unwrap(), snapshot("sessionPersistence: {},"));
        for name in ["v1", "v2"] {
            let told = set_cookie(&Stay::of(possible(&key, &snapshot, "/a", None), &service(name)).unwrap());
            assert!(told.starts_with("heddle-session-") && told.ends_with("; Path=/a"), "{told}");
        }
    }

    #[test]
    fn without_routes_the_policy_of_the_service_that_was_dialled_counts() {
        let (key, snapshot) = (SessionKey::new(b"a secret").unwrap(), snapshot(""));
        let count = |name| Stay::possible(&key, &snapshot, &service(name), None, &HeaderMap::new()).len();
        assert_eq!((count("v1"), count("web")), (1, 0));
    }
}
