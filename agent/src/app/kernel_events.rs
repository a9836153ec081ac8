//! Passes what the kernel programs tell about connections on to those who listen, with the names of pods, and to the agent's
//! own log where the configuration wants it there. While nobody listens the programs tell nothing.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, SystemTime},
};

use heddle_common::{ConnectionEvent, EventKind, EventReason, PortDirection, SocketOwner};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info};

use crate::{
    admin::events::Event,
    capture::{ConnectionEvents, LostEvents, PodsByCookie, Switches},
    config::EventLog,
    mesh::Workload,
    observe::{EventFeed, Metrics, Observer, timestamp},
};

/// How often those who listen are told of events that the kernel lost.
const LOOK_FOR_LOST: Duration = Duration::from_secs(1);

/// Target of events in the process log.
const TARGET: &str = "heddle::events";

/// What the task works with.
pub(super) struct Telling {
    pub(super) feed: EventFeed,
    pub(super) pods: PodsByCookie,
    pub(super) log: EventLog,
}

/// Registers what is to be read before each scrape.
pub(super) fn register(observer: &Observer, lost: LostEvents, switches: Switches, feed: EventFeed) {
    let listeners = feed.listeners();
    observer.before_scrape(move |metrics: &Metrics| {
        metrics.set_connection_events_lost(lost.count());
        metrics.connection_events_missed(feed.take_missed());
        metrics.set_event_listeners(switches.events_are_on(), *listeners.borrow());
    });
}

/// Follows those who listen, for ever.
pub(super) async fn run(mut events: ConnectionEvents, telling: Telling) {
    let mut listeners = telling.feed.listeners();
    let is_wanted = |count: usize| count > 0 || telling.log == EventLog::On;
    loop {
        if listeners.wait_for(|count| is_wanted(*count)).await.is_err() {
            return;
        }
        tokio::select! {
            result = tell(&mut events, &telling) => if let Err(reason) = result {
                return error!(reason, "read the kernel's events of connections; nobody is told any more until a restart");
            },
            _ = listeners.wait_for(|count| !is_wanted(*count)) => {}
        }
    }
}

/// Tells until it is dropped; the kernel programs are on for that time.
async fn tell(events: &mut ConnectionEvents, telling: &Telling) -> Result<(), String> {
    let counter = events.lost();
    let mut listening = events.listen().map_err(|error| error.to_string())?;
    let (mut told, mut lost) = (Vec::new(), counter.count());
    let mut look = interval(LOOK_FOR_LOST);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            read = listening.next(&mut told) => read.map_err(|error| error.to_string())?,
            _ = look.tick() => {
                let now = counter.count();
                if now > lost {
                    telling.tell(&Event::lost(timestamp(SystemTime::now()), "ring", now - lost));
                    lost = now;
                }
            }
        }
        let clock = Clock::now();
        for event in told.drain(..) {
            telling.tell(&telling.described(&event, &clock));
        }
    }
}

impl Telling {
    fn tell(&self, event: &Event) {
        // An event has nothing that JSON could not say.
        let Ok(line) = serde_json::to_string(event) else { return };
        if self.log == EventLog::On {
            info!(target: TARGET, "{line}");
        }
        self.feed.tell(&line.into());
    }

    fn described(&self, event: &ConnectionEvent, clock: &Clock) -> Event {
        let pod = self.pods.get(event.netns).map(|pod| Arc::clone(&pod.workload));
        let (server, client) = (IpAddr::from(event.server), IpAddr::from(event.client));
        let client = pod.as_deref().map_or(client, |pod| as_others_see(pod, client, server));
        let address = |ip: IpAddr, port: u16| (!ip.is_unspecified() || port != 0).then(|| SocketAddr::new(ip, port));
        let is_inbound = event.direction == PortDirection::Inbound as u16;
        let kind = EventKind::of(event.kind);
        let reason = EventReason::of(event.reason).filter(|reason| *reason != EventReason::None);
        let described = Event {
            time: timestamp(clock.time_of(event.time)),
            event: kind.map_or("unknown", EventKind::name).to_owned(),
            reason: reason.map(|reason| reason.name().to_owned()),
            direction: Some(if is_inbound { "inbound" } else { "outbound" }.to_owned()),
            socket: SocketOwner::of(event.owner).map(|owner| owner.name().to_owned()),
            pod: pod.map(|pod| format!("{}/{}", pod.namespace, pod.name)),
            netns: (event.netns != 0).then_some(event.netns),
            client: address(client, event.client_port).map(|address| address.to_string()),
            server: address(server, event.server_port).map(|address| address.to_string()),
            ..Event::default()
        };
        if kind != Some(EventKind::Closed) {
            return described;
        }
        Event {
            sent_bytes: Some(event.sent),
            received_bytes: Some(event.received),
            duration_ms: Some(event.lasted / 1_000_000),
            rtt_us: Some(event.rtt_us),
            retransmits: Some(event.retransmits),
            ..described
        }
    }
}

/// The captured socket of an application has a loopback address: others would see the pod's own, of the family that was
/// dialled.
fn as_others_see(pod: &Workload, client: IpAddr, server: IpAddr) -> IpAddr {
    let same_family = |address: &&IpAddr| address.is_ipv4() == server.is_ipv4();
    let own = pod.addresses.iter().find(same_family).filter(|_| client.is_loopback());
    own.copied().unwrap_or(client)
}

/// The kernel's clock beside that of the wall.
struct Clock {
    monotonic: Duration,
    wall: SystemTime,
}

impl Clock {
    fn now() -> Self {
        let monotonic = clock_gettime(ClockId::Monotonic);
        let seconds = u64::try_from(monotonic.tv_sec).unwrap_or_default();
        let nanoseconds = u32::try_from(monotonic.tv_nsec).unwrap_or_default();
        Self { monotonic: Duration::new(seconds, nanoseconds), wall: SystemTime::now() }
    }

    fn time_of(&self, event: u64) -> SystemTime {
        self.wall - self.monotonic.saturating_sub(Duration::from_nanos(event))
    }
}
