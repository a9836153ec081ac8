//! The watches that are open, and what a test can order them to do.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connection::Connection;

/// How an open watch ends when the test wants it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// After a whole event, with a proper end of the body.
    Cleanly,
    /// After half an event; then the connection closes without the body's end.
    MidFrame,
    /// By a TCP reset.
    Reset,
}

/// What one open watch is told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Cut(Cut),
    /// Send a bookmark, if the client allows any.
    Bookmark,
    /// Send a line that is no event.
    Garbage,
    /// Say that its version is too old, and end.
    Expire,
}

struct Entry {
    plural: String,
    orders: UnboundedSender<Order>,
    connection: Arc<Connection>,
}

/// All open watches.
#[derive(Default)]
pub(super) struct OpenWatches(Mutex<Vec<Entry>>);

impl OpenWatches {
    /// Adds one; it is open as long as its end of the orders lives.
    pub(super) fn open(&self, plural: &str, connection: &Arc<Connection>) -> UnboundedReceiver<Order> {
        let (orders, inbox) = unbounded_channel();
        let mut entries = self.0.lock();
        entries.retain(|entry| !entry.orders.is_closed());
        entries.push(Entry { plural: plural.to_owned(), orders, connection: Arc::clone(connection) });
        inbox
    }

    /// How many are open for a resource, given by its plural, or for all ("").
    pub(super) fn count(&self, plural: &str) -> usize {
        self.0.lock().iter().filter(|entry| entry.is_for(plural)).count()
    }

    /// Tells the open ones for a resource, or for all (""), and says how many were told.
    pub(super) fn tell(&self, plural: &str, order: Order) -> usize {
        let entries = self.0.lock();
        let told = entries.iter().filter(|entry| entry.is_for(plural));
        told.map(|entry| {
            if matches!(order, Order::Cut(Cut::Reset)) {
                entry.connection.reset();
            }
            // One that ends at this moment needs no order.
            let _ = entry.orders.send(order);
        })
        .count()
    }
}

impl Entry {
    fn is_for(&self, plural: &str) -> bool {
        !self.orders.is_closed() && (plural.is_empty() || plural == self.plural)
    }
}
