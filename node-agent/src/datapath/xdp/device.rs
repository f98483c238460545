//! What the kernel says of an interface, as far as XDP depends on it.

use std::io;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NlasIterator};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage, LinkXdp},
};
use netlink_sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_GENERIC, NETLINK_ROUTE},
};

/// An interface. As long as this does not change, neither does the driver's answer to an XDP program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::datapath) struct Device {
    /// Its link-layer address.
    pub(super) mac: [u8; 6],
    /// Largest IP packet in bytes.
    pub(super) mtu: u32,
    /// The kernel's numbers of the XDP programs that run at it.
    pub(in crate::datapath) programs: Vec<u32>,
    /// What its driver can do (`enum netdev_xdp_act`); none on kernels before 6.3, which do not tell.
    features: Option<u64>,
}

/// Bits of `enum netdev_xdp_act` (linux/netdev.h).
const BASIC: u64 = 1;
const NDO_XMIT: u64 = 4;
const NDO_XMIT_SG: u64 = 64;

impl Device {
    /// Looks at the interface with this index in this network namespace.
    ///
    /// # Errors
    /// There is none, or the kernel cannot be asked.
    pub(in crate::datapath) fn look(index: u32) -> io::Result<Self> {
        let message = link_message(index)?;
        let mut device = Self { mac: [0; 6], mtu: 0, programs: Vec::new(), features: features(index)? };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Address(address) => device.mac = address.try_into().unwrap_or_default(),
                LinkAttribute::Mtu(mtu) => device.mtu = mtu,
                LinkAttribute::Xdp(attached) => device.programs = programs(&attached),
                _ => {}
            }
        }
        Ok(device)
    }

    /// Whether the driver is known to run no XDP programs.
    pub(super) fn lacks_xdp(&self) -> bool {
        self.features.is_some_and(|features| features & BASIC == 0)
    }

    /// Whether the driver runs XDP programs; none if the kernel does not tell.
    pub(in crate::datapath) fn runs_xdp(&self) -> Option<bool> {
        self.features.map(|features| features & BASIC != 0)
    }

    /// Whether the driver is known to send frames that XDP programs redirect to it.
    pub(super) fn sends(&self) -> bool {
        self.has(NDO_XMIT)
    }

    /// The same for frames in more than one buffer.
    pub(super) fn sends_fragments(&self) -> bool {
        self.has(NDO_XMIT_SG)
    }

    fn has(&self, feature: u64) -> bool {
        self.features.is_some_and(|features| features & feature != 0)
    }

    #[cfg(test)]
    pub(super) fn with_features(features: Option<u64>) -> Self {
        Self { mac: [2, 0, 0, 0, 0, 1], mtu: 1500, programs: Vec::new(), features }
    }
}

/// Numbers of attached programs, whichever way each is attached.
fn programs(attached: &[LinkXdp]) -> Vec<u32> {
    let id = |one: &LinkXdp| match one {
        LinkXdp::ProgId(id) | LinkXdp::DrvProgId(id) | LinkXdp::SkbProgId(id) | LinkXdp::HwProgId(id) => {
            Some(*id).filter(|id| *id != 0)
        }
        _ => None,
    };
    let mut ids: Vec<u32> = attached.iter().filter_map(id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

fn link_message(index: u32) -> io::Result<LinkMessage> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(message));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let answer = ask(NETLINK_ROUTE, &bytes)?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::other("the kernel did not answer with a link")),
    }
}

/// Generic netlink (linux/genetlink.h): the controller, and what finds a family by its name.
const CONTROLLER: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Family `netdev` (linux/netdev.h).
const NETDEV: &[u8] = b"netdev\0";
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

const HEADER: usize = 16;
const GENERIC_HEADER: usize = 4;
const NLMSG_ERROR: u16 = 2;

/// What the driver can do; none if the kernel has no way to tell.
fn features(index: u32) -> io::Result<Option<u64>> {
    let family = match ask_generic(CONTROLLER, GET_FAMILY, FAMILY_NAME, NETDEV) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        answer => attribute::<2>(&answer?, FAMILY_ID).map(u16::from_ne_bytes),
    };
    let Some(family) = family else { return Ok(None) };
    let device = ask_generic(family, DEV_GET, DEV_IFINDEX, &index.to_ne_bytes())?;
    Ok(attribute::<8>(&device, DEV_XDP_FEATURES).map(u64::from_ne_bytes))
}

/// Asks a family of generic netlink with one attribute; returns the answer's attributes.
fn ask_generic(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let answer = ask(NETLINK_GENERIC, &generic_request(family, command, kind, value))?;
    let kind = answer.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes);
    let rest = |from: usize| answer.get(from..).unwrap_or_default();
    if kind == Some(NLMSG_ERROR) {
        let code = rest(HEADER).first_chunk().copied().map_or(0, i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(-code));
    }
    Ok(rest(HEADER + GENERIC_HEADER).to_vec())
}

fn generic_request(family: u16, command: u8, kind: u16, value: &[u8]) -> Vec<u8> {
    let attribute = 4 + value.len();
    let length = HEADER + GENERIC_HEADER + attribute.next_multiple_of(4);
    let number = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut bytes = number(length).to_ne_bytes().to_vec();
    bytes.extend_from_slice(&family.to_ne_bytes());
    bytes.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    // Sequence number and port; then the command in its first version.
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[command, 1, 0, 0]);
    bytes.extend_from_slice(&u16::try_from(attribute).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend_from_slice(&kind.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(length, 0);
    bytes
}

/// The value of one attribute, if it is there and of this length.
fn attribute<const LENGTH: usize>(attributes: &[u8], kind: u16) -> Option<[u8; LENGTH]> {
    let mut found = NlasIterator::new(attributes).filter_map(Result::ok);
    found.find(|attribute| attribute.kind() == kind)?.value().try_into().ok()
}

/// Sends a request and returns the datagram that answers it.
fn ask(protocol: isize, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(protocol)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(request, 0)?;
    socket.recv_from_full().map(|(answer, _)| answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_generic_netlink_are_found() {
        let request = generic_request(0x10, GET_FAMILY, FAMILY_NAME, NETDEV);
        assert_eq!(request.len(), 16 + 4 + 4 + 8);
        assert_eq!(request[..4], 32_u32.to_ne_bytes());
        let attributes = &request[HEADER + GENERIC_HEADER..];
        assert_eq!(attribute::<7>(attributes, FAMILY_NAME).as_ref().map(|name| &name[..]), Some(NETDEV));
        assert_eq!(attribute::<7>(attributes, FAMILY_ID), None);
        assert_eq!(attribute::<2>(attributes, FAMILY_NAME), None);
        assert_eq!(attribute::<2>(&attributes[..3], FAMILY_NAME), None);
    }

    /// The loopback is in every network namespace; it has no XDP, and no kernel lies about it.
    #[test]
    fn the_loopback_has_no_native_xdp() {
        let loopback = Device::look(1).unwrap();
        assert_eq!((loopback.mac, loopback.programs.len()), ([0; 6], 0));
        assert!(loopback.mtu > 0 && !loopback.sends() && !loopback.sends_fragments());
        assert!(Device::look(u32::MAX >> 1).is_err());
    }

    #[test]
    fn what_a_kernel_does_not_tell_is_neither_there_nor_missing() {
        let unknown = Device::with_features(None);
        assert!(!unknown.lacks_xdp() && !unknown.sends() && !unknown.sends_fragments());
        let none = Device::with_features(Some(0));
        assert!(none.lacks_xdp() && !none.sends());
        let all = Device::with_features(Some(BASIC | NDO_XMIT | NDO_XMIT_SG));
        assert!(!all.lacks_xdp() && all.sends() && all.sends_fragments());
    }

    #[test]
    fn programs_are_counted_once() {
        let attached = [LinkXdp::DrvProgId(7), LinkXdp::ProgId(7), LinkXdp::SkbProgId(9), LinkXdp::ProgId(0)];
        assert_eq!(programs(&attached), [7, 9]);
    }
}
