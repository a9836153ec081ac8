//! What a rule does with a request that matched it.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    Failure, Matched, Request, RequestEdits, ResponseEdits,
    cors::{CorsAnswer, is_preflight, preflight},
    matched::Filter,
    redirect::{location, replaced, with_query},
};
use crate::{
    mesh::{ServicePort, Snapshot},
    route::backend::{Draw, Resolved, Unresolved, resolve, resolve_itself},
    rules::gateway::{BackendFilter, FilteredBackendRef, ServiceRef},
};

/// Where a request is decided.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What the names in rules stand for.
    pub snapshot: &'a Snapshot,
    /// The Service port that the client dialled.
    pub dialled: &'a ServicePort,
    /// Decides between backends, and which requests are mirrored.
    pub draw: Draw,
    /// The endpoint of the request's session: the backend that has it is taken before chance decides.
    pub session: Option<SocketAddr>,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Outcome<'t> {
    /// It is sent to a backend.
    Forward(Forward<'t>),
    /// It is answered by a filter: redirected, or told what a browser may send.
    Answer(Answer),
    /// There is nobody to send it to. The answer is changed as a backend's would be.
    Failure(Failure, ResponseEdits<'t>),
}

/// A request to a backend.
#[derive(Debug)]
pub struct Forward<'t> {
    /// The backend, as the rule names it.
    pub backend: &'t FilteredBackendRef,
    /// Who gets it for that one; it has endpoints.
    pub to: Resolved,
    /// What is changed in the request.
    pub request: RequestEdits<'t>,
    /// What is changed in the response.
    pub response: ResponseEdits<'t>,
    /// Who gets a copy.
    pub mirrors: Vec<Mirror<'t>>,
}

/// A copy of a request, with what the rule changes in it and without what only a backend's filters change. Its answer is
/// thrown away.
#[derive(Debug)]
pub struct Mirror<'t> {
    /// Who gets it, as the rule names it.
    pub backend: &'t ServiceRef,
    /// What it stands for, or why the copy is dropped.
    pub port: Result<Arc<ServicePort>, Unresolved>,
    /// What is changed in the copy.
    pub request: RequestEdits<'t>,
}

/// A response that no backend gave, without a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
}

impl<'t> Matched<'t> {
    /// Decides. A browser that asks what it may send is answered first, whatever else the rule does.
    pub fn outcome(&self, scene: &Scene<'_>, request: &Request<'_>) -> Outcome<'t> {
        let cors = self.filters().find_map(|filter| match filter {
            Filter::Cors(cors) => Some(cors),
            _ => None,
        });
        if let Some(cors) = cors.filter(|_| is_preflight(request)) {
            return Outcome::Answer(preflight(cors, request));
        }
        let response = ResponseEdits {
            cors: cors.map(|cors| CorsAnswer::new(cors, request)),
            modifiers: self.filters().filter_map(response_modifier).collect(),
        };
        if let Some(answer) = self.redirected(scene, request, &response) {
            return Outcome::Answer(answer);
        }
        match self.backend(scene) {
            Ok((backend, to)) => Outcome::Forward(self.forward(scene, request, response, backend, to)),
            Err(failure) => Outcome::Failure(failure, response),
        }
    }

    fn redirected(&self, scene: &Scene<'_>, request: &Request<'_>, response: &ResponseEdits<'_>) -> Option<Answer> {
        let redirect = self.filters().find_map(|filter| match filter {
            Filter::Redirect(redirect) => Some(redirect),
            _ => None,
        })?;
        let mut headers = HeaderMap::new();
        let location = location(redirect, self, request, scene.dialled);
        // Its parts are those of URLs: path and query were read as such, and a host that is none is not repeated.
        headers.extend(HeaderValue::from_bytes(location.as_bytes()).ok().map(|location| (header::LOCATION, location)));
        response.apply(&mut headers);
        Some(Answer { status: redirect.status_code, headers })
    }

    /// The backend whose turn it is.
    fn backend(&self, scene: &Scene<'_>) -> Result<(&'t FilteredBackendRef, Resolved), Failure> {
        let backends = self.backends();
        if backends.is_empty() {
            return Err(Failure::NoBackends);
        }
        if let Some(kept) = scene.session.and_then(|endpoint| self.backend_with(scene, endpoint)) {
            return Ok(kept);
        }
        let turn = scene.draw.weighted(backends.iter().map(|backend| backend.backend.weight));
        let backend = turn.and_then(|turn| backends.get(turn)).ok_or(Failure::NoWeight)?;
        Ok((backend, self.resolve(scene, &backend.backend.service)?))
    }

    /// The backend that has an endpoint in use. Of whatever weight: a session lasts when its backend gets no new ones
    /// (GEP-1619, "Traffic Splitting").
    fn backend_with(&self, scene: &Scene<'_>, endpoint: SocketAddr) -> Option<(&'t FilteredBackendRef, Resolved)> {
        self.backends().iter().find_map(|backend| {
            let to = self.resolve(scene, &backend.backend.service).ok().filter(|to| !to.is_fallback)?;
            (to.port.ready.on(endpoint.ip()) == Some(endpoint)).then_some((backend, to))
        })
    }

    fn resolve(&self, scene: &Scene<'_>, reference: &ServiceRef) -> Result<Resolved, Unresolved> {
        resolve(scene.snapshot, &self.route().name.namespace, reference, scene.dialled.family)
    }

    fn forward(
        &self,
        scene: &Scene<'_>,
        request: &Request<'_>,
        mut response: ResponseEdits<'t>,
        backend: &'t FilteredBackendRef,
        to: Resolved,
    ) -> Forward<'t> {
        let mut edits = self.request_edits(request);
        let mirrors = self.mirrors(scene, &edits);
        for filter in &backend.filters {
            match filter {
                BackendFilter::RequestHeaderModifier(modifier) => edits.modifiers.push(modifier),
                BackendFilter::ResponseHeaderModifier(modifier) => response.modifiers.insert(0, modifier),
            }
        }
        Forward { backend, to, request: edits, response, mirrors }
    }

    /// Those of the rule.
    fn request_edits(&self, request: &Request<'_>) -> RequestEdits<'t> {
        let mut edits = RequestEdits::default();
        let mut path = None;
        for filter in self.filters() {
            match filter {
                Filter::RequestHeaders(modifier) => edits.modifiers.push(modifier),
                Filter::Rewrite(rewrite) => {
                    edits.authority = rewrite.hostname.as_deref();
                    path = rewrite.path.as_ref();
                }
                _ => {}
            }
        }
        let path = match path {
            Some(modifier) => Some(replaced(modifier, self, request.target.path())),
            // The backend sees the path that was decided on.
            None if !request.target.is_as_sent() => Some(request.target.path().to_owned()),
            None => None,
        };
        edits.target = path.map(|path| with_query(path, request));
        edits
    }

    fn mirrors(&self, scene: &Scene<'_>, edits: &RequestEdits<'t>) -> Vec<Mirror<'t>> {
        let mirrors = self.filters().filter_map(|filter| match filter {
            Filter::Mirror(mirror) => Some(mirror),
            _ => None,
        });
        let drawn = (0..).zip(mirrors).filter(|(stream, mirror)| scene.draw.other(*stream).is_in(mirror.fraction));
        let copy = |mirror: &'t crate::rules::gateway::RequestMirror| Mirror {
            backend: &mirror.backend_ref,
            port: resolve_itself(
                scene.snapshot,
                &self.route().name.namespace,
                &mirror.backend_ref,
                scene.dialled.family,
            ),
            request: edits.clone(),
        };
        drawn.map(|(_, mirror)| copy(mirror)).collect()
    }
}

fn response_modifier(filter: Filter<'_>) -> Option<&crate::rules::gateway::HeaderModifier> {
    match filter {
        Filter::ResponseHeaders(modifier) => Some(modifier),
        _ => None,
    }
}
