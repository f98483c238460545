//! The MTU at both ends of pods' veths.

use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rtnetlink::packet_core::NLM_F_ACK;

use super::{Host, HostError, namespaces::Namespaces, one_request::ask, session::Session};
use crate::model::{HostChange, HostView, MtuChange, VethEnd, VethPeer};

/// How many peers are asked for at a time.
const IN_FLIGHT: usize = 64;

impl Host {
    /// Fills in the MTU of every veth's other end. One that cannot be read stays unknown: its namespace may
    /// just be going.
    ///
    /// # Errors
    /// If no netlink socket can be opened.
    pub async fn observe_peers(&self, view: &mut HostView) -> Result<(), HostError> {
        let session = Session::open()?;
        let mtus: Vec<Option<u32>> = stream::iter(&view.links)
            .map(|link| async {
                let answer = session.get(get_peer(link.peer.as_ref()?)).await.ok()?;
                mtu_of(&answer)
            })
            .buffered(IN_FLIGHT)
            .collect()
            .await;
        for (link, mtu) in view.links.iter_mut().zip(mtus) {
            if let Some(peer) = &mut link.peer {
                peer.mtu = mtu;
            }
        }
        Ok(())
    }
}

/// Asks for the other end of a veth, wherever it is.
fn get_peer(peer: &VethPeer) -> RouteNetlinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = peer.index;
    message.attributes = peer.netns.map(LinkAttribute::IfNetnsId).into_iter().collect();
    RouteNetlinkMessage::GetLink(message)
}

fn mtu_of(answer: &RouteNetlinkMessage) -> Option<u32> {
    let RouteNetlinkMessage::NewLink(message) = answer else { return None };
    message.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

/// The namespaces that these changes lead into.
pub(super) fn namespaces(changes: &[HostChange]) -> Namespaces {
    let inside = changes.iter().filter_map(|change| match change {
        HostChange::SetMtu(change) if change.ends.contains(&VethEnd::Pod) => change.peer.netns,
        _ => None,
    });
    let wanted: BTreeSet<i32> = inside.collect();
    if wanted.is_empty() { Namespaces::default() } else { Namespaces::find(wanted) }
}

/// Sets one end after the other; stops at the first that fails.
pub(super) fn set(change: &MtuChange, namespaces: &Namespaces) -> Result<(), HostError> {
    change.ends.iter().try_for_each(|end| set_end(change, *end, namespaces))
}

fn set_end(change: &MtuChange, end: VethEnd, namespaces: &Namespaces) -> Result<(), HostError> {
    let failed =
        |reason| HostError::Mtu { interface: change.interface.clone(), end, mtu: change.mtu, reason };
    let (index, netns) = match end {
        VethEnd::Host => (change.link, None),
        VethEnd::Pod => (change.peer.index, change.peer.netns),
    };
    let socket = match netns {
        None => Socket::new(NETLINK_ROUTE),
        Some(id) => namespaces
            .socket(id)
            .ok_or_else(|| HostError::PodNamespace { interface: change.interface.clone() })?,
    };
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::Mtu(change.mtu)];
    let request = RouteNetlinkMessage::SetLink(message);
    socket.and_then(|socket| ask(&socket, request, NLM_F_ACK)).map(drop).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_asked_for_in_its_own_namespace() {
        for netns in [Some(7), None] {
            let RouteNetlinkMessage::GetLink(message) = get_peer(&VethPeer { netns, index: 3, mtu: None })
            else {
                panic!("not a question")
            };
            assert_eq!(message.header.index, 3);
            assert_eq!(
                message.attributes,
                netns.map(LinkAttribute::IfNetnsId).into_iter().collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_namespace_that_nothing_names_is_told_with_what_to_do() {
        let peer = VethPeer { netns: Some(7), index: 3, mtu: Some(1500) };
        let ends = vec![VethEnd::Pod, VethEnd::Host];
        let change = MtuChange { link: 9, interface: "veth-web".to_owned(), peer, mtu: 1400, ends };
        let error = set(&change, &Namespaces::default()).unwrap_err().to_string();
        assert!(error.contains("pod's end of veth-web") && error.contains("hostPID"), "{error}");
    }
}
