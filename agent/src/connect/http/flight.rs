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
