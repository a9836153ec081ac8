//! Rules of nftables that drop what arrives at a device, or pass a port on to a pod, put into the kernel of the calling thread's network namespace by
//! netlink: no program of that name is needed.
//!
//! In: a device and a share. Out: how many packets were dropped. There is one table for each with one chain and one rule; it is
//! replaced as a whole, and goes with its namespace. What `nft` would write as
//! `numgen random mod 1000 < SHARE counter drop` is the rule.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

const TABLE: &[u8] = b"heddle-chaos\0";
const CHAIN: &[u8] = b"arriving\0";

/// linux/netlink.h
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const TYPE: u16 = 0x3fff;
const HEADER: usize = 16;

/// linux/netfilter/nfnetlink.h and nf_tables.h
const NF_TABLES: u16 = 10;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = NF_TABLES << 8;
const DELETE_TABLE: u16 = NF_TABLES << 8 | 2;
const NEW_CHAIN: u16 = NF_TABLES << 8 | 3;
const NEW_RULE: u16 = NF_TABLES << 8 | 6;
const GET_RULE: u16 = NF_TABLES << 8 | 7;
const FAMILY_NETDEV: u8 = 5;
const FAMILY_IPV4: u8 = 2;
const REGISTER: u32 = 1;
const VERDICT_REGISTER: u32 = 0;
const SECOND_REGISTER: u32 = 2;
/// `NF_IP_PRI_NAT_DST`.
const BEFORE_ROUTING: i32 = -100;
const PROTOCOL: u32 = 16;
const TRANSPORT_HEADER: u32 = 2;

/// Drops so many of 1,000 packets that arrive at the device, each by chance of its own; 1,000 are all.
pub(super) fn drop_arriving(device: &str, per_mille: u32) -> Result<()> {
    let mut hook = attribute(1, &0u32.to_be_bytes());
    hook.extend(attribute(2, &0i32.to_be_bytes()));
    hook.extend(attribute(3, &[device.as_bytes(), b"\0"].concat()));
    let chain = [attribute(1, TABLE), attribute(3, CHAIN), nested(4, &hook), attribute(7, b"filter\0")].concat();
    let rule = [attribute(1, TABLE), attribute(2, CHAIN), nested(4, &expressions(per_mille))].concat();
    // Made first, so that there is one to be removed.
    order(&[
        (NEW_TABLE, CREATE, attribute(1, TABLE)),
        (DELETE_TABLE, 0, attribute(1, TABLE)),
        (NEW_TABLE, CREATE, attribute(1, TABLE)),
        (NEW_CHAIN, CREATE, chain),
        (NEW_RULE, CREATE | APPEND, rule),
    ])
    .with_context(|| format!("dropping {per_mille} of 1000 packets that arrive at {device}"))
}

/// Sends what comes to a TCP port of this namespace to a pod. What `nft` would write as `tcp dport PORT dnat to POD:PORT`.
pub(super) fn pass_on(port: u16, pod: Ipv4Addr, pod_port: u16) -> Result<()> {
    let word = |kind: u16, value: u32| attribute(kind, &value.to_be_bytes());
    let value = |bytes: &[u8]| nested(2, &attribute(1, bytes));
    let equals =
        |bytes: &[u8]| expression(b"cmp\0", &[word(1, REGISTER), word(2, 0), nested(3, &attribute(1, bytes))].concat());
    let load = |register: u32, bytes: &[u8]| expression(b"immediate\0", &[word(1, register), value(bytes)].concat());
    let destination = [word(1, REGISTER), word(2, TRANSPORT_HEADER), word(3, 2), word(4, 2)].concat();
    let expressions = [
        expression(b"meta\0", &[word(2, PROTOCOL), word(1, REGISTER)].concat()),
        equals(&[6]),
        expression(b"payload\0", &destination),
        equals(&port.to_be_bytes()),
        load(REGISTER, &pod.octets()),
        load(SECOND_REGISTER, &pod_port.to_be_bytes()),
        expression(
            b"nat\0",
            &[word(1, 1), word(2, FAMILY_IPV4.into()), word(3, REGISTER), word(5, SECOND_REGISTER)].concat(),
        ),
    ];
    let hook = [attribute(1, &0u32.to_be_bytes()), attribute(2, &BEFORE_ROUTING.to_be_bytes())].concat();
    let chain = [attribute(1, TABLE), attribute(3, CHAIN), nested(4, &hook), attribute(7, b"nat\0")].concat();
    let rule = [attribute(1, TABLE), attribute(2, CHAIN), nested(4, &expressions.concat())].concat();
    order_in(
        FAMILY_IPV4,
        &[(NEW_TABLE, CREATE, attribute(1, TABLE)), (NEW_CHAIN, CREATE, chain), (NEW_RULE, CREATE | APPEND, rule)],
    )
    .with_context(|| format!("passing port {port} on to {pod}:{pod_port}"))
}

/// Drops nothing any more.
pub(super) fn drop_nothing() -> Result<()> {
    order(&[(NEW_TABLE, CREATE, attribute(1, TABLE)), (DELETE_TABLE, 0, attribute(1, TABLE))])
        .context("taking back the rule that drops packets")
}

/// How many packets the rule in force has dropped.
pub(super) fn dropped() -> Result<u64> {
    let payload = [attribute(1, TABLE), attribute(2, CHAIN)].concat();
    let socket = connected()?;
    socket.send(&message(GET_RULE, REQUEST | DUMP, 1, FAMILY_NETDEV, 0, &payload), 0)?;
    let mut packets = None;
    loop {
        let bytes = socket.recv_from_full()?.0;
        for (kind, body) in messages(&bytes) {
            match kind {
                NEW_RULE => packets = packets.or(counter_of(body.get(4..).unwrap_or_default())),
                DONE => return packets.context("the rule has no counter"),
                ERROR => bail!("asking how many packets were dropped: {}", error_of(body)),
                _ => {}
            }
        }
    }
}

/// `numgen`, `byteorder`, `cmp`, `counter`, `immediate`, as a list.
fn expressions(per_mille: u32) -> Vec<u8> {
    let word = |kind: u16, value: u32| attribute(kind, &value.to_be_bytes());
    let mut list = Vec::new();
    if per_mille < 1_000 {
        list.extend(expression(b"numgen\0", &[word(1, REGISTER), word(2, 1_000), word(3, 1)].concat()));
        let swap = [word(1, REGISTER), word(2, REGISTER), word(3, 1), word(4, 4), word(5, 4)].concat();
        list.extend(expression(b"byteorder\0", &swap));
        let less = [word(1, REGISTER), word(2, 2), nested(3, &word(1, per_mille))].concat();
        list.extend(expression(b"cmp\0", &less));
    }
    list.extend(expression(b"counter\0", &[]));
    let verdict = [word(1, VERDICT_REGISTER), nested(2, &nested(2, &word(1, 0)))].concat();
    list.extend(expression(b"immediate\0", &verdict));
    list
}

fn expression(name: &[u8], data: &[u8]) -> Vec<u8> {
    nested(1, &[attribute(1, name), nested(2, data)].concat())
}

/// The packets of the first `counter` among a rule's attributes.
fn counter_of(rule: &[u8]) -> Option<u64> {
    let list = attributes(rule).find(|(kind, _)| *kind == 4)?.1;
    attributes(list).find_map(|(_, one)| {
        let part = |wanted: u16| attributes(one).find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        (part(1)? == b"counter\0").then_some(())?;
        let packets = attributes(part(2)?).find(|(kind, _)| *kind == 2)?.1;
        Some(u64::from_be_bytes(packets.try_into().ok()?))
    })
}

/// All of these or none of them, in one transaction.
fn order(orders: &[(u16, u16, Vec<u8>)]) -> Result<()> {
    order_in(FAMILY_NETDEV, orders)
}

fn order_in(family: u8, orders: &[(u16, u16, Vec<u8>)]) -> Result<()> {
    let mut batch = message(BATCH_BEGIN, REQUEST, 0, 0, NF_TABLES, &[]);
    for (number, (kind, flags, payload)) in (1..).zip(orders) {
        batch.extend(message(*kind, REQUEST | ACK | flags, number, family, 0, payload));
    }
    batch.extend(message(BATCH_END, REQUEST, 0, 0, NF_TABLES, &[]));
    let socket = connected()?;
    socket.send(&batch, 0)?;
    let mut acknowledged = 0;
    while acknowledged < orders.len() {
        let bytes = socket.recv_from_full()?.0;
        for (kind, body) in messages(&bytes) {
            ensure!(kind == ERROR, "the kernel answers with a message of kind {kind}");
            ensure!(body.get(..4) == Some(&[0; 4]), "the kernel has no such thing: {}", error_of(body));
            acknowledged += 1;
        }
    }
    Ok(())
}

fn connected() -> Result<Socket> {
    let mut socket = Socket::new(NETLINK_NETFILTER).context("opening a netlink socket")?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    Ok(socket)
}

/// `struct nlmsghdr`, `struct nfgenmsg`, attributes.
fn message(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(((HEADER + 4 + payload.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[u8]) -> Vec<u8> {
    attribute(kind | NESTED, attributes)
}

/// Kind and body of each message.
fn messages(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(*rest.first_chunk()?) as usize;
        let kind = u16::from_ne_bytes(rest.get(4..6)?.try_into().ok()?);
        let body = rest.get(HEADER..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    })
}

/// Kind and value of each attribute.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & TYPE;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn error_of(body: &[u8]) -> std::io::Error {
    let code = body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
    std::io::Error::from_raw_os_error(code.saturating_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_found_among_the_expressions_of_a_rule() {
        let counter = [attribute(1, &7u64.to_be_bytes()), attribute(2, &42u64.to_be_bytes())].concat();
        let list = [expression(b"cmp\0", &[]), expression(b"counter\0", &counter)].concat();
        let rule = [attribute(1, TABLE), nested(4, &list)].concat();
        assert_eq!(counter_of(&rule), Some(42));
        assert_eq!(counter_of(&attribute(1, TABLE)), None);
    }

    #[test]
    fn messages_and_attributes_that_are_cut_off_end_the_list() {
        let two = [message(NEW_RULE, 0, 1, 0, 0, &attribute(1, b"x")), message(DONE, 0, 1, 0, 0, &[])].concat();
        assert_eq!(messages(&two).map(|(kind, _)| kind).collect::<Vec<_>>(), [NEW_RULE, DONE]);
        assert_eq!(messages(&two[..30]).count(), 1);
        assert_eq!(attributes(&attribute(1, b"xyz")[..5]).count(), 0);
    }
}
