//! Lists and watches one kind for ever, and waits longer and longer while that fails.

use std::{fmt::Debug, time::Duration};

use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use kube::{
    Api, Client, Resource,
    runtime::watcher::{self, Config, Event, watcher},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::resource::{self, RawObject};
use crate::objects::Kind;

/// First pause after a failure. An API server's restart behind a load balancer is over by then, and the data plane, which
/// goes on with what it knows, does not suffer from half a second.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Longest pause. 5,000 nodes that watch seven kinds each, and whose API server is back, then ask it about 2,300 times a
/// second at the worst, spread out evenly by the jitter; and nobody waits longer than this after an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(20);

/// After this long without a failure the next one starts from the first pause. Not at the first success: a server that
/// lists 10,000 pods and then fails the watch would be asked for the list twice a second.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Objects in one answer of a list: as many as client-go's default, about 5 MiB of pods.
const PAGE: u32 = 500;

/// What happened to one kind, or to one of its objects.
pub(super) type WatchEvent = (Kind, Result<Event<RawObject>, watcher::Error>);

/// An endless stream. An error is followed by a pause and another try: with a resumed watch where that is possible, with a
/// new list where the server has forgotten (410 Gone).
pub(super) fn watch(client: Client, kind: Kind) -> BoxStream<'static, WatchEvent> {
    let mut config = Config::default().page_size(PAGE);
    if let Some(selector) = resource::selector(kind) {
        config = config.labels(selector);
    }
    let events = watcher(Api::<RawObject>::all_with(client, &kind), config).boxed();
    paced(events, Backoff::default(), retry_after).map(move |event| (kind, event)).boxed()
}

/// The same of one of Kubernetes' own types, where its labels are those of the selector.
pub(crate) fn watch_all<K>(api: Api<K>, selector: &str) -> BoxStream<'static, Result<Event<K>, watcher::Error>>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = Config::default().page_size(PAGE);
    let config = if selector.is_empty() { config } else { config.labels(selector) };
    paced(watcher(api, config).boxed(), Backoff::default(), retry_after)
}

/// Waits after each error, before it asks the stream again.
fn paced<T: Send + 'static, E: Send + 'static>(
    events: BoxStream<'static, Result<T, E>>,
    backoff: Backoff,
    at_least: fn(&E) -> Duration,
) -> BoxStream<'static, Result<T, E>> {
    let state = (events, backoff, Duration::ZERO);
    stream::unfold(state, move |(mut events, mut backoff, pause)| async move {
        if !pause.is_zero() {
            sleep(pause).await;
        }
        let event = events.next().await?;
        let pause = match &event {
            Ok(_) => Duration::ZERO,
            Err(error) => backoff.next().max(at_least(error)),
        };
        Some((event, (events, backoff, pause)))
    })
    .boxed()
}

/// What an overloaded API server asks for.
fn retry_after(error: &watcher::Error) -> Duration {
    use kube::Error::Api;
    use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
    /// Longer would be a mistake of the server's, and an agent that is deaf for hours.
    const LONGEST: Duration = Duration::from_secs(60);
    let status = match error {
        InitialListFailed(Api(status)) | WatchStartFailed(Api(status)) | WatchFailed(Api(status)) => status,
        WatchError(status) => status,
        _ => return Duration::ZERO,
    };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(seconds.into()).min(LONGEST)
}

#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// The pause after one more failure: doubled with each, and then a random half of it taken off or not, since all nodes
    /// of a cluster fail at the same moment.
    fn next(&mut self) -> Duration {
        if self.last.is_some_and(|last| last.elapsed() >= FORGIVEN_AFTER) {
            self.failures = 0;
        }
        let full = FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures = self.failures.saturating_add(1);
        self.last = Some(Instant::now());
        full.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(pause: Duration, full: Duration) -> bool {
        pause >= full / 2 && pause <= full
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_start_again_after_a_quiet_minute() {
        let mut backoff = Backoff::default();
        for full in [500, 1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000] {
            let pause = backoff.next();
            assert!(within(pause, Duration::from_millis(full)), "{pause:?} is not of {full} ms");
        }
        for _ in 0..100 {
            backoff.next();
        }
        sleep(FORGIVEN_AFTER).await;
        assert!(within(backoff.next(), FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_between_failures_does_not_shorten_the_pause() {
        // As the watcher does when every list fails: it announces each new list as a success.
        let events = stream::iter(0..12).map(|n| if n % 2 == 0 { Ok(()) } else { Err(Duration::ZERO) }).boxed();
        let start = Instant::now();
        let seen = paced(events, Backoff::default(), |least| *least).count().await;
        assert_eq!(seen, 12);
        // 0.5 + 1 + 2 + 4 + 8 + 16 seconds, at least half of it.
        assert!(start.elapsed() >= Duration::from_millis(15_700), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_for_is_waited_for() {
        let events = stream::iter([Err::<(), _>(Duration::from_secs(30)), Ok(())]).boxed();
        let start = Instant::now();
        assert_eq!(paced(events, Backoff::default(), |least| *least).count().await, 2);
        assert!(start.elapsed() >= Duration::from_secs(30));
    }
}
