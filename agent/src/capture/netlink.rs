//! Questions to the kernel's routing subsystem, in the network namespace of the calling thread.

use std::io;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// Bytes of a message's own header; the first four are its length.
const HEADER: usize = 16;
/// Messages begin at multiples of it.
const ALIGNMENT: usize = 4;

/// Sends one request and collects what the kernel answers, which is immediate. `flags` beyond those of every request.
pub(super) fn ask(message: RouteNetlinkMessage, flags: u16) -> io::Result<Vec<RouteNetlinkMessage>> {
    let mut packet = NetlinkMessage::from(message);
    // The end of a list is a message of its own; to anything else an acknowledgement is.
    packet.header.flags = NLM_F_REQUEST | flags | if flags & NLM_F_DUMP == NLM_F_DUMP { 0 } else { NLM_F_ACK };
    packet.finalize();
    let mut bytes = vec![0; packet.buffer_len()];
    packet.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let mut answers = Vec::new();
    loop {
        let (received, _) = socket.recv_from_full()?;
        if collect(&received, &mut answers)? {
            return Ok(answers);
        }
    }
}

/// Takes the messages of one datagram. True if the last one was among them.
pub(super) fn collect(mut rest: &[u8], answers: &mut Vec<RouteNetlinkMessage>) -> io::Result<bool> {
    while let Some(length) = rest.first_chunk::<4>().map(|length| u32::from_ne_bytes(*length) as usize) {
        if length < HEADER {
            return Err(io::Error::other(format!("the kernel answered with a message of {length} bytes")));
        }
        // One that this build cannot read is about something that it does not ask for.
        if let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest) {
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Done(_) => return Ok(true),
                // Success is an error message without a code.
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                // The smallest number has no opposite.
                NetlinkPayload::Error(error) => {
                    return Err(io::Error::from_raw_os_error(error.raw_code().saturating_neg()));
                }
                _ => {}
            }
        }
        rest = rest.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(false)
}
