//! The new agent's side: finds the one before, and takes what it has.

use std::{
    io, mem,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
};

use heddle_common::LAYOUT_VERSION;
use serde::de::DeserializeOwned;
use serde_json::Value;
use socket2::Socket;
use tokio::task::spawn_blocking;

use super::{
    HandoverError, PATIENCE, Place, Sockets,
    message::{Message, receive, send},
    socket,
};

/// The agent that runs here already.
#[derive(Debug)]
pub struct Predecessor {
    socket: Socket,
    process: i32,
}

/// What it has handed over. To be told when it can stop; if this is dropped before, it goes on as before.
#[derive(Debug)]
pub struct Inheritance {
    sockets: Sockets,
    predecessor: Predecessor,
}

/// How many connections the agent before still has.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicUsize>);

impl Predecessor {
    /// Looks for it at `handover.socket`.
    ///
    /// # Errors
    /// Something is there, and it cannot be asked.
    pub fn find(path: &Path) -> Result<Option<Self>, HandoverError> {
        let found = || {
            let Some(socket) = socket::connect(path)? else { return Ok(None) };
            socket::set_patience(&socket, Some(PATIENCE))?;
            let process = socket::peer(&socket)?;
            Ok(Some(Self { socket, process }))
        };
        found().map_err(|source| HandoverError::Listen { path: path.to_owned(), source })
    }

    /// Its process id.
    pub fn process(&self) -> i32 {
        self.process
    }

    /// Asks for what it has. From the answer on it writes nothing to the kernel.
    ///
    /// # Errors
    /// It refuses, hangs, or has ended.
    pub async fn take_over(self, place: Place) -> Result<Inheritance, HandoverError> {
        let process = self.process;
        let asked = spawn_blocking(move || self.ask(place)).await;
        asked.unwrap_or_else(|error| Err(HandoverError::Broken { process, source: io::Error::other(error) }))
    }

    fn ask(self, place: Place) -> Result<Inheritance, HandoverError> {
        let broken = |source| HandoverError::Broken { process: self.process, source };
        let (layout, version) = (LAYOUT_VERSION, env!("CARGO_PKG_VERSION").to_owned());
        send(&self.socket, &Message::TakeOver { place, layout, version }, &[]).map_err(broken)?;
        let mut sockets = Sockets::default();
        loop {
            let (message, passed) = receive(&self.socket).map_err(broken)?;
            match message {
                Message::Pod { netns, listeners } => drop(sockets.pods.insert(netns, named(listeners, passed))),
                Message::Endpoints { listeners } => sockets.endpoints = named(listeners, passed),
                Message::Complete => break,
                Message::Refused { reason } => return Err(HandoverError::Refused(reason)),
                // Of a later version, or out of turn: nothing that is needed here.
                Message::TakeOver { .. } | Message::Serving | Message::Draining { .. } => {}
            }
        }
        Ok(Inheritance { sockets, predecessor: self })
    }
}

impl Inheritance {
    /// The listeners, once.
    pub fn take_sockets(&mut self) -> Sockets {
        mem::take(&mut self.sockets)
    }

    /// Tells the agent before that it can stop to accept, and listens to what it says of its end.
    ///
    /// # Errors
    /// There is no thread to listen.
    pub fn serving(self) -> io::Result<Draining> {
        let (draining, Predecessor { socket, .. }) = (Draining::default(), self.predecessor);
        let counted = draining.clone();
        thread::Builder::new().name("handover".to_owned()).spawn(move || {
            // One that has ended needs to hear nothing.
            let told = socket::set_patience(&socket, None).and_then(|()| send(&socket, &Message::Serving, &[]));
            while told.is_ok() {
                match receive(&socket) {
                    Ok((Message::Draining { connections }, _)) => counted.0.store(connections, Relaxed),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            counted.0.store(0, Relaxed);
        })?;
        Ok(draining)
    }
}

impl Draining {
    /// Connections that it has not ended yet.
    pub fn connections(&self) -> usize {
        self.0.load(Relaxed)
    }
}

/// The sockets by what each is for, as far as this version knows it. The others are closed.
pub(super) fn named<N: DeserializeOwned, C: FromIterator<(N, OwnedFd)>>(names: Vec<Value>, sockets: Vec<OwnedFd>) -> C {
    let known = names.into_iter().zip(sockets).filter_map(|(name, socket)| {
        let name = serde_json::from_value(name).ok()?;
        Some((name, socket))
    });
    known.collect()
}
