//! The data threads: one single-threaded runtime each, sharing nothing that one of them could wait for.

use std::{
    cell::Cell,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use parking_lot::Mutex;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Handle, RuntimeMetrics},
    sync::watch,
};

use crate::{
    capture::{Accepted, Arrival, DataPath},
    connection,
    node::{DataThread, Node},
    shares::{self, Account, Overload, Share},
};

thread_local! {
    /// Which data thread this is.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// Connections that the thread which accepted one may have more than the idlest before it hands it over: to move a
/// connection costs a wake-up, to be a little busier costs less.
const SLACK: usize = 1;

/// All data threads, which run until [`DataThreads::stop`]: acceptors hold them, and they hold the acceptors.
pub(super) struct DataThreads {
    threads: Vec<Running>,
    next_acceptor: AtomicUsize,
    pod_share: Share,
    overload: Arc<Overload>,
    stop: watch::Sender<bool>,
}

struct Running {
    state: Arc<DataThread>,
    runtime: Handle,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl DataThreads {
    /// Starts them.
    pub(super) fn start(node: &Arc<Node>) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let start = |index| Running::start(index, DataThread::new(Arc::clone(node)), stopped.clone());
        let threads = (0..node.limits.data_threads).map(start).collect::<io::Result<_>>()?;
        let (pod_share, overload) = (node.limits.pod, Arc::clone(&node.overload));
        Ok(Self { threads, next_acceptor: AtomicUsize::new(0), pod_share, overload, stop })
    }

    /// Connections that all threads serve now.
    pub(super) fn open_connections(&self) -> usize {
        self.threads.iter().map(|thread| thread.state.open_connections()).sum()
    }

    /// What their runtimes count, with the names of the threads.
    pub(super) fn runtimes(&self) -> impl Iterator<Item = (String, RuntimeMetrics)> {
        self.threads.iter().enumerate().map(|(index, thread)| (name(index), thread.runtime.metrics()))
    }

    /// Ends all threads, with everything that they still serve, and waits until it has ended.
    pub(super) fn stop(&self) {
        self.stop.send_replace(true);
        for running in &self.threads {
            if let Some(thread) = running.thread.lock().take() {
                // A thread that panicked has said so.
                let _ = thread.join();
            }
        }
    }

    /// The thread that is to serve it.
    fn place(&self, arrival: Arrival) -> Option<(usize, &Running)> {
        let (load, slack): (fn(&DataThread) -> usize, _) = match arrival {
            // It has any number of connections in it: two that could have had a thread each must not share one.
            Arrival::Hbone => (DataThread::accepted_tunnels, 0),
            Arrival::Outbound | Arrival::Plaintext => (DataThread::open_connections, SLACK),
        };
        let loads = self.threads.iter().map(|thread| load(&thread.state));
        let index = choose(loads, HERE.get(), slack)?;
        Some((index, self.threads.get(index)?))
    }
}

/// The thread that accepted a connection, unless another has less to do by more than the slack.
fn choose(loads: impl Iterator<Item = usize> + Clone, here: usize, slack: usize) -> Option<usize> {
    let own = loads.clone().nth(here)?;
    let (idlest, least) = loads.enumerate().min_by_key(|(_, load)| *load)?;
    Some(if own <= least + slack { here } else { idlest })
}

impl Running {
    fn start(index: usize, state: Arc<DataThread>, mut stopped: watch::Receiver<bool>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let house_keeping = Arc::clone(&state).keep_house();
        let thread = thread::Builder::new().name(name(index)).spawn(move || {
            HERE.set(index);
            runtime.block_on(async {
                tokio::spawn(shares::take_turns());
                tokio::select! {
                    () = house_keeping => {}
                    _ = stopped.wait_for(|stop| *stop) => {}
                }
            });
        })?;
        Ok(Self { state, runtime: handle, thread: Mutex::new(Some(thread)) })
    }
}

fn name(index: usize) -> String {
    format!("data-{index}")
}

impl DataPath for DataThreads {
    fn pod_share(&self) -> Share {
        self.pod_share
    }

    fn overload(&self) -> &Arc<Overload> {
        &self.overload
    }

    fn accept_failed(&self) {
        if let Some(thread) = self.threads.first() {
            thread.state.node.observer.metrics().accept_failed();
        }
    }

    fn spawn_acceptor(&self, account: Arc<Account>, acceptor: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let index = self.next_acceptor.fetch_add(1, Ordering::Relaxed) % self.threads.len().max(1);
        if let Some(thread) = self.threads.get(index) {
            // On its own thread, where it takes its turns.
            thread.runtime.spawn(async move {
                shares::spawn_for(&account, acceptor);
            });
        }
    }

    fn serve(&self, accepted: Accepted) {
        let Some((index, thread)) = self.place(accepted.arrival) else { return };
        let open = match accepted.arrival {
            Arrival::Hbone => thread.state.count_tunnel(),
            Arrival::Outbound | Arrival::Plaintext => thread.state.count_connection(),
        };
        let state = Arc::clone(&thread.state);
        if index == HERE.get() {
            return connection::serve(accepted, state, open);
        }
        // A socket belongs to the runtime that it is registered with.
        let Accepted { arrival, pod, stream, client, place, handshake } = accepted;
        let Ok(socket) = stream.into_std() else { return };
        thread.runtime.spawn(async move {
            if let Ok(stream) = TcpStream::from_std(socket) {
                connection::serve(Accepted { arrival, pod, stream, client, place, handshake }, state, open);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_stays_where_it_was_accepted_unless_another_thread_is_idler_by_more_than_the_slack() {
        for (loads, here, slack, chosen) in [
            ([0, 0, 0], 1, 1, 1),
            ([0, 1, 0], 1, 1, 1),
            ([1, 2, 0], 1, 1, 2),
            ([5, 6, 5], 1, 0, 0),
            ([0, 0, 0], 2, 0, 2),
        ] {
            assert_eq!(choose(loads.into_iter(), here, slack), Some(chosen), "{loads:?} from {here}, slack {slack}");
        }
        assert_eq!(choose([0].into_iter(), 1, 0), None);
    }
}
