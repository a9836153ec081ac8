//! One opening for all who wait for it: they succeed together, and fail together, so none waits for the failures of those
//! before it.

use std::{future::Future, sync::Arc};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;

/// Openings of one thing, of which at most one is under way.
pub(super) struct Flight<T, E> {
    under_way: Mutex<Option<(u64, Opening<T, E>)>>,
}

type Opening<T, E> = Shared<BoxFuture<'static, Result<T, Arc<E>>>>;

impl<T, E> Default for Flight<T, E> {
    fn default() -> Self {
        Self { under_way: Mutex::new(None) }
    }
}

impl<T, E> Flight<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Joins the opening that is under way, or starts one. It runs for as long as anybody waits for it.
    pub(super) async fn join<F>(&self, open: impl FnOnce() -> F) -> Result<T, Arc<E>>
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (id, opening) = {
            let mut under_way = self.under_way.lock();
            match &*under_way {
                Some((id, opening)) => (*id, opening.clone()),
                None => {
                    let opening = open().map(|result| result.map_err(Arc::new)).boxed().shared();
                    let id = fastrand::u64(..);
                    *under_way = Some((id, opening.clone()));
                    (id, opening)
                }
            }
        };
        let forget = Forget { flight: self, id };
        let result = opening.await;
        drop(forget);
        result
    }
}

/// Whoever stops waiting takes the opening away: with its result it is over, and without one the next starts anew. Those
/// who wait still have it.
struct Forget<'a, T, E> {
    flight: &'a Flight<T, E>,
    id: u64,
}

impl<T, E> Drop for Forget<'_, T, E> {
    fn drop(&mut self) {
        let mut under_way = self.flight.under_way.lock();
        if under_way.as_ref().is_some_and(|(id, _)| *id == self.id) {
            *under_way = None;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::{sync::oneshot, task::yield_now};

    use super::*;

    #[tokio::test]
    async fn all_who_wait_share_one_opening_and_its_failure() {
        let (flight, opened) = (Arc::new(Flight::<u32, &str>::default()), Arc::new(AtomicU32::new(0)));
        let (fail, failed) = oneshot::channel::<()>();
        let failed = Arc::new(Mutex::new(Some(failed)));
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let (flight, opened, failed) = (Arc::clone(&flight), Arc::clone(&opened), Arc::clone(&failed));
                tokio::spawn(async move {
                    let open = || {
                        opened.fetch_add(1, Relaxed);
                        let failed = failed.lock().take().unwrap();
                        async move {
                            failed.await.ok();
                            Err("refused")
                        }
                    };
                    flight.join(open).await
                })
            })
            .collect();
        yield_now().await;
        fail.send(()).unwrap();
        for one in waiting {
            assert_eq!(*one.await.unwrap().unwrap_err(), "refused");
        }
        assert_eq!(opened.load(Relaxed), 1);
        assert_eq!(flight.join(|| async { Ok(7) }).await.unwrap(), 7, "the next starts anew");
    }

    #[tokio::test]
    async fn one_who_gives_up_takes_the_opening_from_nobody() {
        let flight = Arc::new(Flight::<u32, &str>::default());
        let (go, gone) = oneshot::channel::<()>();
        let second = {
            let mut first = Box::pin(flight.join(|| async move {
                gone.await.ok();
                Ok(1)
            }));
            assert!(futures_util::future::poll_immediate(&mut first).await.is_none());
            let flight = Arc::clone(&flight);
            let second = tokio::spawn(async move { flight.join(|| async { Ok(2) }).await });
            yield_now().await;
            drop(first);
            second
        };
        go.send(()).unwrap();
        assert_eq!(second.await.unwrap().unwrap(), 1);
    }
}
