//! A connection that the client's agent has: what is dialled, what is spoken, and then by its requests or its bytes.

use std::sync::Arc;

use super::{
    World,
    dialled::Dialled,
    origin::{self, Client},
    question::{Asked, Question, Says},
    report::StepName,
    requests, streams,
    telling::Telling,
};
use crate::{
    connect::http::HttpVersion,
    connection::{Expectation, Expected, ExpectedBy, Spoken},
    failure::Failed,
    mesh::{RouteKind, Workload},
    route::{self, Route},
};

/// A client whose connection the agent has, and what it dialled.
#[derive(Clone, Copy)]
pub(super) struct Caught<'a> {
    pub(super) world: &'a World<'a>,
    pub(super) source: &'a Arc<Workload>,
    pub(super) client: std::net::IpAddr,
    pub(super) dialled: std::net::SocketAddr,
    /// As what the client knows it.
    pub(super) host: &'a str,
    /// Whether the client can prove who it is.
    pub(super) can_prove: bool,
}

pub(super) fn by_agent(
    world: &World<'_>,
    source: &Arc<Workload>,
    client: &Client,
    dialled: &Dialled,
    question: &Question,
    telling: &mut Telling,
) {
    let can_prove = origin::identity(world, source, telling);
    let route = route::route(world.snapshot, dialled.address);
    tell_destination(&route, dialled, telling);
    let client = client.address_towards(dialled.address);
    let host = match question.to.port {
        80 => question.to.host.clone(),
        _ => question.to.to_string(),
    };
    let caught = Caught { world, source, client, dialled: dialled.address, host: &host, can_prove };
    let says = caught.spoken(question.says.clone(), telling);
    let route = match route {
        Ok(route) => route,
        // Nobody asks what is spoken where nothing is.
        Err(no_route) => return telling.connection_fails(1.0, &Failed::Route(no_route), None),
    };
    match says {
        (Spoken::Http(_), Says::Request(asked)) => requests::decide(&caught, route, &asked, telling),
        // What is judged as HTTP and is none.
        (Spoken::Http(_), _) => {
            let refused = "it is answered 400: it is no HTTP, and the port is for nothing else".to_owned();
            telling.possible(super::report::Possible {
                status: Some(400),
                ..super::telling::refused(1.0, crate::observe::ResponseFlag::DownstreamProtocolError, refused)
            });
        }
        (Spoken::Tls(name), says) => streams::decide(&caught, route, name.as_deref(), &says, telling),
        (Spoken::Bytes, says) => streams::decide(&caught, route, None, &says, telling),
    }
}

impl Caught<'_> {
    /// What the connection is taken to carry, and what the client says.
    fn spoken(&self, says: Option<Says>, telling: &mut Telling) -> (Spoken, Says) {
        let Expectation { expected, by, .. } =
            Expectation::of(self.world.snapshot, self.source, self.dialled, self.world.learned);
        let is_open = says.is_none();
        let says = says.unwrap_or_else(|| match expected {
            Expected::Bytes => Says::Bytes,
            Expected::ServerName => Says::Tls(None),
            Expected::Http | Expected::HttpAsBefore | Expected::Unknown => Says::Request(Box::new(Asked::root())),
        });
        let words = match &says {
            // Both versions are decided alike.
            Says::Request(_) => Spoken::Http(HttpVersion::Http1),
            Says::Tls(name) => Spoken::Tls(name.clone()),
            Says::Bytes => Spoken::Bytes,
        };
        let taken = expected.takes(words);
        let step = telling.step(
            StepName::Protocol,
            match &taken {
                Spoken::Http(_) => "HTTP: each request is decided by itself",
                Spoken::Tls(_) => "TLS of the client's own, carried as it is",
                Spoken::Bytes => "carried as bytes, without a look at requests",
            },
        );
        step.because(why(expected, by));
        if is_open && matches!(says, Says::Request(_)) {
            telling.note("nothing is said about what the client sends: GET / is taken as an example; --path, --sni and --tcp say more");
        }
        (taken, says)
    }
}

fn why(expected: Expected, by: ExpectedBy) -> String {
    match by {
        ExpectedBy::Routes(RouteKind::Http) => "HTTPRoutes are for this port".to_owned(),
        ExpectedBy::Routes(RouteKind::Grpc) => "GRPCRoutes are for this port".to_owned(),
        ExpectedBy::Routes(RouteKind::Tls) => "TLSRoutes are for this port: the server name decides".to_owned(),
        ExpectedBy::Routes(RouteKind::Tcp) => "TCPRoutes are for this port".to_owned(),
        ExpectedBy::OpaquePort => "the pods that serve declare their port as opaque".to_owned(),
        ExpectedBy::Port(declared) => format!("the Service port declares it by appProtocol or its name ({declared:?})"),
        ExpectedBy::Memory if expected == Expected::HttpAsBefore => {
            "nothing is declared, and HTTP was seen there before".to_owned()
        }
        ExpectedBy::Memory => "nothing is declared: the first words decide".to_owned(),
        ExpectedBy::Outside => "nothing in the mesh serves there, so nobody looks".to_owned(),
    }
}

fn tell_destination(route: &Result<Route, route::NoRoute>, dialled: &Dialled, telling: &mut Telling) {
    let to = dialled.address;
    let says = match route {
        Ok(Route::Service(port)) => format!("port {} of Service {}", port.port, port.service),
        Ok(Route::Workload(pod, _)) => {
            format!("exactly pod {}/{}; routes of Services do not count", pod.namespace, pod.name)
        }
        Ok(Route::External(_, Some(name))) => format!("{to} as dialled, known by ServiceEntry as {}", name.host()),
        Ok(Route::External(_, None)) => format!("{to} as dialled: nothing that the mesh knows, passed through"),
        Err(no_route) => no_route.to_string(),
    };
    let step = telling.step(StepName::Destination, says);
    step.because.extend(dialled.because.iter().cloned());
    if route.is_err() {
        step.refuses();
    }
}
