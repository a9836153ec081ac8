//! The old agent's side: waits for the next one, gives it what it has, and hears whether it lives.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{Arc, mpsc as blocking},
    thread,
    time::Duration,
};

use heddle_common::LAYOUT_VERSION;
use serde::Serialize;
use serde_json::{Value, json};
use socket2::Socket;
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::warn;

use super::{
    HandoverError, PATIENCE, Place, Sockets, UNTIL_SERVING,
    message::{Message, receive, send},
    socket,
};

/// After one that was not heard, so that no process can keep this one busy.
const PAUSE: Duration = Duration::from_millis(100);

/// Agents that ask to take over, one after the other.
pub struct Claims {
    socket: Option<Arc<Socket>>,
    asked: mpsc::Receiver<Successor>,
}

/// An agent that has asked for what this one has. Until it is dropped no other is heard, and none at all once it serves.
pub struct Successor {
    socket: Arc<Socket>,
    /// Its process id.
    pub process: i32,
    /// Its version.
    pub version: String,
    layout: u32,
    turn: blocking::SyncSender<HandedOver>,
}

/// The socket is the next agent's.
struct HandedOver;

impl Claims {
    /// Waits for the next agents at `handover.socket`: by the socket of the agent before, or a new one.
    ///
    /// # Errors
    /// The path is unusable.
    pub fn listen(path: &Path, place: Place, inherited: Option<OwnedFd>) -> Result<Self, HandoverError> {
        let failed = |source| HandoverError::Listen { path: path.to_owned(), source };
        let socket = inherited.map_or_else(|| socket::listen(path), |socket| Ok(socket.into())).map_err(failed)?;
        let (socket, (sender, asked)) = (Arc::new(socket), mpsc::channel(1));
        let listener = Arc::clone(&socket);
        thread::Builder::new()
            .name("handover".to_owned())
            .spawn(move || hear_all(&listener, &place, &sender))
            .map_err(failed)?;
        Ok(Self { socket: Some(socket), asked })
    }

    /// Hears nobody.
    pub fn of_nobody() -> Self {
        Self { socket: None, asked: mpsc::channel(1).1 }
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Successor {
        match self.asked.recv().await {
            Some(successor) => successor,
            None => std::future::pending().await,
        }
    }

    /// What they are heard by, for the next agent.
    pub fn hand_over(&self) -> io::Result<Option<OwnedFd>> {
        self.socket.as_ref().map(|socket| socket.as_fd().try_clone_to_owned()).transpose()
    }
}

fn hear_all(listener: &Socket, place: &Place, asked: &mpsc::Sender<Successor>) {
    loop {
        let heard = listener.accept().and_then(|(socket, _)| hear(socket, place));
        match heard {
            Ok((successor, turn)) => {
                if asked.blocking_send(successor).is_err() {
                    return;
                }
                // Until it is dropped; or for ever, since who asks from now on asks the next agent, by the same socket.
                if let Ok(HandedOver) = turn.recv() {
                    return;
                }
            }
            Err(error) => {
                warn!(%error, "another agent asked to take over; going on");
                thread::sleep(PAUSE);
            }
        }
    }
}

fn hear(socket: Socket, place: &Place) -> io::Result<(Successor, blocking::Receiver<HandedOver>)> {
    socket::set_patience(&socket, Some(PATIENCE))?;
    let process = socket::peer(&socket)?;
    let (Message::TakeOver { place: theirs, layout, version }, _) = receive(&socket)? else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it said something else first"));
    };
    if theirs != *place {
        let reason = format!(
            "it is of node {} with pins at {}, this one of node {} with pins at {}; give each a handover.socket of its own",
            place.node,
            place.pins.display(),
            theirs.node,
            theirs.pins.display()
        );
        send(&socket, &Message::Refused { reason: reason.clone() }, &[])?;
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    }
    let (turn, ended) = blocking::sync_channel(1);
    Ok((Successor { socket: Arc::new(socket), process, version, layout, turn }, ended))
}

impl Successor {
    /// Whether it goes on with the same maps, so that this agent can accept until it serves.
    pub fn shares_maps(&self) -> bool {
        self.layout == LAYOUT_VERSION
    }

    /// Gives it all listeners.
    ///
    /// # Errors
    /// It hangs, or has ended.
    pub async fn give(&self, sockets: Sockets) -> io::Result<()> {
        self.blocking(move |socket| give(socket, &sockets)).await
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// It hangs, or has ended.
    pub async fn serves(&self) -> io::Result<()> {
        self.blocking(|socket| {
            socket::set_patience(socket, Some(UNTIL_SERVING))?;
            while receive(socket)?.0 != Message::Serving {}
            Ok(())
        })
        .await?;
        // There is nobody to be told where this process is ending.
        let _ = self.turn.send(HandedOver);
        Ok(())
    }

    /// Tells it how many connections are left here.
    pub fn tell_draining(&self, connections: usize) {
        // One that does not listen is heard to have ended.
        let _ = send(&self.socket, &Message::Draining { connections }, &[]);
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        let heard = self.blocking(|socket| {
            socket::set_patience(socket, None)?;
            while receive(socket).is_ok() {}
            Ok(())
        });
        if let Err(error) = heard.await {
            warn!(%error, "listen to the agent that has taken over");
        }
    }

    async fn blocking<F>(&self, talk: F) -> io::Result<()>
    where
        F: FnOnce(&Socket) -> io::Result<()> + Send + 'static,
    {
        let socket = Arc::clone(&self.socket);
        spawn_blocking(move || talk(&socket)).await.map_err(io::Error::other)?
    }
}

fn give(socket: &Socket, sockets: &Sockets) -> io::Result<()> {
    for (netns, listeners) in &sockets.pods {
        let (listeners, sockets) = named(listeners.iter().map(|(name, socket)| (name, socket)));
        send(socket, &Message::Pod { netns: *netns, listeners }, &sockets)?;
    }
    let (listeners, sockets) = named(&sockets.endpoints);
    send(socket, &Message::Endpoints { listeners }, &sockets)?;
    send(socket, &Message::Complete, &[])
}

fn named<'a, N: Serialize + 'a>(
    listeners: impl IntoIterator<Item = (&'a N, &'a OwnedFd)>,
) -> (Vec<Value>, Vec<BorrowedFd<'a>>) {
    listeners.into_iter().map(|(name, socket)| (json!(name), socket.as_fd())).unzip()
}
