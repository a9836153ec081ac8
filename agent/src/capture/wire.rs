//! The node's ends of a pod's cables.
//!
//! In: a network namespace. Out: the veth devices of the node's own namespace whose other end is in it. Only what the
//! node's side says counts: a pod with CAP_NET_ADMIN can give its devices any name and number.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
};

use netlink_packet_core::NLM_F_DUMP;
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{InfoKind, LinkAttribute, LinkInfo, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};

use super::netlink::ask;

/// A device of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeEnd {
    /// Its number.
    pub(super) index: u32,
    /// Its name.
    pub(super) name: String,
}

/// The node's ends of the cables that lead to a namespace. To be called on a thread that is in the node's namespace.
pub(super) fn node_ends(netns: impl AsFd) -> io::Result<Vec<NodeEnd>> {
    // First: by listing its devices the kernel gives a number to each namespace that one of them leads to.
    let devices = ask(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
    let Some(number) = number_of(netns)? else { return Ok(Vec::new()) };
    Ok(devices.iter().filter_map(|device| leads_to(device, number)).collect())
}

/// The node's namespace's number for another one; `None` if it has no device that leads there.
fn number_of(netns: impl AsFd) -> io::Result<Option<i32>> {
    let mut question = NsidMessage::default();
    question.attributes = vec![NsidAttribute::Fd(netns.as_fd().as_raw_fd().cast_unsigned())];
    let answers = ask(RouteNetlinkMessage::GetNsId(question), 0)?;
    let attributes = answers.iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(answer) => Some(&answer.attributes),
        _ => None,
    });
    // The kernel's word for "none" is -1.
    Ok(attributes.flatten().find_map(|attribute| match attribute {
        NsidAttribute::Id(number) if *number >= 0 => Some(*number),
        _ => None,
    }))
}

fn leads_to(device: &RouteNetlinkMessage, number: i32) -> Option<NodeEnd> {
    let RouteNetlinkMessage::NewLink(device) = device else { return None };
    let has = |wanted: &dyn Fn(&LinkAttribute) -> bool| device.attributes.iter().any(wanted);
    let leads_there = has(&|attribute| *attribute == LinkAttribute::LinkNetNsId(number));
    let is_veth = has(&|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
        if infos.contains(&LinkInfo::Kind(InfoKind::Veth)))
    });
    let name = device.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })?;
    (leads_there && is_veth).then_some(NodeEnd { index: device.header.index, name })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(attributes: Vec<LinkAttribute>) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 7;
        message.attributes = attributes;
        RouteNetlinkMessage::NewLink(message)
    }

    #[test]
    fn only_a_cable_that_leads_there_is_one_of_the_pods() {
        let name = LinkAttribute::IfName("veth7".to_owned());
        let kind = |kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)]);
        let there = LinkAttribute::LinkNetNsId(3);
        let end = NodeEnd { index: 7, name: "veth7".to_owned() };
        for (what, attributes, expected) in [
            ("a cable", vec![name.clone(), there.clone(), kind(InfoKind::Veth)], Some(end)),
            ("to another", vec![name.clone(), LinkAttribute::LinkNetNsId(4), kind(InfoKind::Veth)], None),
            ("within the node", vec![name.clone(), kind(InfoKind::Veth)], None),
            ("no cable", vec![name.clone(), there.clone(), kind(InfoKind::MacVlan)], None),
            ("nameless", vec![there, kind(InfoKind::Veth)], None),
        ] {
            assert_eq!(leads_to(&device(attributes), 3), expected, "{what}");
        }
    }

    #[test]
    fn the_kernel_answers_about_the_namespace_that_one_is_in() {
        // Whatever this machine has: the question is understood, and no device leads from a namespace to itself.
        let own = std::fs::File::open("/proc/thread-self/ns/net").ok();
        assert_eq!(own.and_then(|own| node_ends(own).ok()), Some(Vec::new()));
    }
}
