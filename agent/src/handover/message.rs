//! What the two agents say, each a JSON document in a packet, and the sockets that go with it.
//!
//! The two may be of different versions: what a message has beyond what is known here is ignored, and a listener that is
//! not known is closed.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::Place;

/// Of a message, in bytes.
const MOST_BYTES: usize = 16 * 1024;
/// Sockets with one message: the listeners of one pod, or those of the node.
const MOST_SOCKETS: usize = 16;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase")]
pub(super) enum Message {
    /// New to old: hand over to me.
    TakeOver {
        /// Where it is.
        place: Place,
        /// Version of the layouts of its maps.
        layout: u32,
        /// Its own version, for the log.
        version: String,
    },
    /// Old to new: no, and why.
    Refused {
        /// Why.
        reason: String,
    },
    /// Old to new: the listeners of one pod, by what each is for.
    Pod {
        /// Cookie of its network namespace.
        netns: u64,
        /// What each socket is for, in their order. Names that a version does not know are left out by it.
        listeners: Vec<serde_json::Value>,
    },
    /// Old to new: the listeners of the node.
    Endpoints {
        /// As in `Pod`.
        listeners: Vec<serde_json::Value>,
    },
    /// Old to new: that was all.
    Complete,
    /// New to old: you can stop.
    Serving,
    /// Old to new: it still has so many connections.
    Draining {
        /// How many.
        connections: usize,
    },
}

/// Sends one, with sockets, which stay open here.
pub(super) fn send(socket: impl AsFd, message: &Message, sockets: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(sockets)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "more listeners than a message takes"));
    }
    sendmsg(socket, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for one.
pub(super) fn receive(socket: impl AsFd) -> io::Result<(Message, Vec<OwnedFd>)> {
    let mut text = vec![0; MOST_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            sockets.extend(passed);
        }
    }
    if received.bytes == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it has ended"));
    }
    if received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it says more in a message than this version reads"));
    }
    let text = text.get(..received.bytes).unwrap_or_default();
    let message = serde_json::from_slice(text).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it says something that this version does not know: {error}"),
        )
    })?;
    Ok((message, sockets))
}
