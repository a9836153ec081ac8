//! What makes two requests or connections alike: between whom, for which service, by which rule, and how protected.

use std::{net::IpAddr, sync::Arc};

use serde::Serialize;

use super::super::{access_log::Story, facts::Facts};
use crate::{
    mesh::ServiceName,
    observe::{ConnectionStart, Party, Reporter, Transport},
};

/// What one workload and another have to do with each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FlowKey {
    /// `outbound` or `inbound`, as this node sees it.
    direction: &'static str,
    /// The client.
    source: Peer,
    /// The server; nobody where none was chosen.
    destination: Option<Peer>,
    /// The Service that was dialled, by its host name.
    #[serde(serialize_with = "as_host")]
    service: Option<ServiceName>,
    /// `tcp`, `http/1`, `http/2` or `grpc`.
    protocol: &'static str,
    /// The rule that matched, as in the access log.
    route: Option<String>,
    /// Whether it travelled in mutual TLS; nothing where it failed before it travelled at all.
    mutual_tls: Option<bool>,
}

/// One end: a workload, or an address that the mesh knows nothing of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
enum Peer {
    /// Pods of one owner.
    Workload {
        /// Their namespace.
        namespace: Arc<str>,
        /// Their owner.
        workload: Arc<str>,
    },
    /// Outside of the mesh.
    Address {
        /// The address without the port, of which clients have many.
        address: IpAddr,
    },
}

impl FlowKey {
    /// Of what has ended.
    pub(super) fn of(story: &Story) -> Self {
        let request = story.request.as_deref();
        Self {
            protocol: story.protocol(),
            // The server's agent knows of no rule.
            route: request
                .filter(|_| story.start.reporter == Reporter::Source)
                .and_then(|request| request.route().map(str::to_owned)),
            ..Self::between(&story.start, story.service.as_ref(), story.server.as_ref(), story.transport)
        }
    }

    /// Of a connection that is open; the same as at its end.
    pub(super) fn of_open(facts: &Facts) -> Self {
        Self::between(&facts.start, facts.service.as_ref(), facts.server.as_ref(), facts.transport)
    }

    fn between(
        start: &ConnectionStart,
        service: Option<&ServiceName>,
        server: Option<&Party>,
        transport: Transport,
    ) -> Self {
        Self {
            direction: start.reporter.direction(),
            source: Peer::of(&start.client),
            destination: server.map(Peer::of),
            service: service.cloned(),
            protocol: "tcp",
            route: None,
            mutual_tls: match transport {
                Transport::Unsent => None,
                Transport::Plain | Transport::Native => Some(false),
                Transport::Hbone { .. } => Some(true),
            },
        }
    }
}

impl Peer {
    fn of(party: &Party) -> Self {
        match &party.workload {
            Some(workload) => {
                Self::Workload { namespace: Arc::clone(&workload.namespace), workload: Arc::clone(&workload.owner) }
            }
            None => Self::Address { address: party.address.ip() },
        }
    }
}

fn as_host<S: serde::Serializer>(service: &Option<ServiceName>, serializer: S) -> Result<S::Ok, S::Error> {
    service.as_ref().map(ServiceName::host).serialize(serializer)
}
