//! What pods have of this agent, told when metrics are read.

use crate::{
    capture::{EnrolledPod, PodsByCookie},
    observe::{Observer, PodBound, PodDirection, PodUse},
    shares::{Bound, Direction, Share},
};

/// Has it told of the pods that are enrolled then.
pub(super) fn register(observer: &Observer, pods: PodsByCookie) {
    observer.before_scrape(move |metrics| metrics.set_pods(pods.all().iter().map(|pod| used(pod))));
}

fn used(pod: &EnrolledPod) -> PodUse {
    let account = &pod.account;
    let Share { weight, connections, handshakes, buffer_bytes } = account.share();
    let way = |connections, handshakes, bytes| {
        [account.taken(connections), account.taken(handshakes), account.waiting_bytes(bytes)]
    };
    let outbound = way(Bound::OutboundConnections, Bound::OutboundHandshakes, Direction::Sent);
    let inbound = way(Bound::InboundConnections, Bound::InboundHandshakes, Direction::Received);
    let waits = Bound::ALL.map(|bound| {
        let (count, waited) = account.waits(bound);
        (label(bound), count, waited)
    });
    let full = [(PodBound::SentBytes, Direction::Sent), (PodBound::ReceivedBytes, Direction::Received)];
    let full = full.map(|(bound, direction)| (bound, account.full_buffers(direction), Default::default()));
    PodUse {
        namespace: pod.workload.namespace.clone(),
        pod: pod.workload.name.clone(),
        worked: account.worked(),
        put_off: account.put_off(),
        ways: [(PodDirection::Outbound, outbound), (PodDirection::Inbound, inbound)],
        waits: waits.into_iter().chain(full).collect(),
        limits: [weight.into(), connections.into(), handshakes.into(), buffer_bytes],
    }
}

fn label(bound: Bound) -> PodBound {
    match bound {
        Bound::OutboundConnections => PodBound::OutboundConnections,
        Bound::InboundConnections => PodBound::InboundConnections,
        Bound::OutboundHandshakes => PodBound::OutboundHandshakes,
        Bound::InboundHandshakes => PodBound::InboundHandshakes,
    }
}
