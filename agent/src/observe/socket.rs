//! Looking at the agent's own sockets while they are open: how their packets travel, for the access log.
//!
//! Who owns a socket shows it for a time that ends before the socket does; others look at it through a lock that the end of
//! that time takes too. So nobody ever asks about a number that stands for another socket by then. Nothing is asked of the
//! kernel unless somebody looks, or a socket that could be looked at is about to be closed.

use std::{os::fd::RawFd, sync::Arc};

use parking_lot::Mutex;

/// How the packets of a TCP socket travel, as the kernel counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFacts {
    /// Smoothed round trip time, in microseconds.
    pub rtt_us: u32,
    /// Segments that were sent again, since the socket was opened.
    pub retransmits: u32,
}

/// Asks the kernel about an open socket.
pub type ReadFacts = fn(RawFd) -> Option<SocketFacts>;

/// A socket that many connections or requests share. What was known of it last stays known.
#[derive(Debug)]
pub struct SocketView(Mutex<End>);

/// Shows a socket while it lives: to be dropped before the socket is.
#[derive(Debug)]
#[must_use = "the socket is shown no longer once this is dropped"]
pub struct Shown(Arc<SocketView>);

impl SocketView {
    /// Shows a socket.
    pub fn show(socket: RawFd, read: ReadFacts) -> Shown {
        Shown(Arc::new(Self(Mutex::new(End::Open(SocketEnd::Own(socket, read))))))
    }

    /// How its packets travel.
    pub(super) fn facts(&self) -> Option<SocketFacts> {
        self.0.lock().facts()
    }
}

impl Shown {
    /// For those who look.
    pub fn view(&self) -> Arc<SocketView> {
        Arc::clone(&self.0)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.0.0.lock().close();
    }
}

/// One end of a connection, as the agent has it.
#[derive(Debug)]
pub enum SocketEnd {
    /// A socket of its own.
    Own(RawFd, ReadFacts),
    /// A stream of a tunnel.
    Shared(Arc<SocketView>),
}

/// Both ends of one connection: the one to the client and the one to the server.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<[End; 2]>);

#[derive(Debug, Default)]
enum End {
    #[default]
    Unknown,
    Open(SocketEnd),
    Closed(Option<SocketFacts>),
}

impl Ends {
    pub(super) fn show(&self, client: SocketEnd, server: SocketEnd) {
        *self.0.lock() = [End::Open(client), End::Open(server)];
    }

    /// The sockets are about to be closed: what is known of them last stays known.
    pub(super) fn hide(&self) {
        self.0.lock().iter_mut().for_each(End::close);
    }

    /// The socket to the server is closed already, and was none of the agent's.
    pub(super) fn set_server(&self, facts: SocketFacts) {
        self.0.lock()[1] = End::Closed(Some(facts));
    }

    /// Of the end to the client, and of the one to the server.
    pub(super) fn facts(&self) -> [Option<SocketFacts>; 2] {
        let ends = self.0.lock();
        [ends[0].facts(), ends[1].facts()]
    }
}

impl End {
    fn facts(&self) -> Option<SocketFacts> {
        match self {
            Self::Unknown => None,
            Self::Open(SocketEnd::Own(socket, read)) => read(*socket),
            Self::Open(SocketEnd::Shared(view)) => view.facts(),
            Self::Closed(last) => *last,
        }
    }

    /// The socket is about to be closed.
    fn close(&mut self) {
        *self = Self::Closed(self.facts());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel in which a socket's number is its round trip time.
    fn read(socket: RawFd) -> Option<SocketFacts> {
        u32::try_from(socket).ok().map(|rtt_us| SocketFacts { rtt_us, retransmits: 0 })
    }

    fn rtts(ends: &Ends) -> [Option<u32>; 2] {
        ends.facts().map(|facts| facts.map(|facts| facts.rtt_us))
    }

    #[test]
    fn what_was_known_last_stays_known_and_a_closed_socket_is_not_asked() {
        let (ends, tunnel) = (Ends::default(), SocketView::show(20, read));
        assert_eq!(rtts(&ends), [None, None]);
        ends.show(SocketEnd::Own(10, read), SocketEnd::Shared(tunnel.view()));
        assert_eq!(rtts(&ends), [Some(10), Some(20)]);
        let view = tunnel.view();
        drop(tunnel);
        assert!(matches!(*view.0.lock(), End::Closed(_)), "its number may stand for another socket now");
        assert_eq!((rtts(&ends), view.facts().map(|facts| facts.rtt_us)), ([Some(10), Some(20)], Some(20)));
        ends.hide();
        assert_eq!(rtts(&ends), [Some(10), Some(20)]);
    }
}
