//! What pods have of this agent, told when metrics are read.

use crate::{
    capture::{EnrolledPod, PodsByCookie, Queue},
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
    let queues = pod.queues();
    let way = |[connections, handshakes, http]: [Bound; 3], bytes, queue: Queue| {
        let [connections, handshakes, http] = [connections, handshakes, http].map(|bound| account.taken(bound));
        [connections, queue.waiting, handshakes, http, account.waiting_bytes(bytes)]
    };
    let outbound = [Bound::OutboundConnections, Bound::OutboundHandshakes, Bound::OutboundHttp];
    let inbound = [Bound::InboundConnections, Bound::InboundHandshakes, Bound::InboundHttp];
    let ways = [
        (PodDirection::Outbound, way(outbound, Direction::Sent, queues.outbound)),
        (PodDirection::Inbound, way(inbound, Direction::Received, queues.inbound)),
    ];
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
        ways,
        tunnels: account.taken(Bound::OutboundTunnels),
        waits: waits.into_iter().chain(full).collect(),
        limits: [weight.into(), connections.into(), queues.inbound.most as u64, handshakes.into(), buffer_bytes],
    }
}

fn label(bound: Bound) -> PodBound {
    match bound {
        Bound::OutboundConnections => PodBound::OutboundConnections,
        Bound::InboundConnections => PodBound::InboundConnections,
        Bound::OutboundHandshakes => PodBound::OutboundHandshakes,
        Bound::InboundHandshakes => PodBound::InboundHandshakes,
        Bound::OutboundHttp => PodBound::OutboundHttp,
        Bound::InboundHttp => PodBound::InboundHttp,
        Bound::OutboundTunnels => PodBound::OutboundTunnels,
    }
}
