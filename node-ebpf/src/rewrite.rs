//! What is written into packets: hop counts, outer headers, congestion marks.

use network_types::ip::Ipv4Hdr;
use node_ebpf_common::NextHop;

use crate::{
    ETHERNET_LENGTH, Family, Header, Outcome, PacketMut, checksum, decide::Congestion, packet::bytes,
};

/// IANA protocol number of IPv4 in IP (RFC 2003).
pub const PROTOCOL_IPIP: u8 = 4;

/// Time to live of outer headers: the tunnel is one hop for the packet inside, whatever lies between.
pub const OUTER_HOPS: u8 = 64;

/// Length of the outer header that encapsulation adds, in bytes.
pub const OUTER_LENGTH: usize = Ipv4Hdr::LEN;

/// The outer IPv4 header for a packet whose network header and payload are `inner_length` bytes.
///
/// DSCP and ECN are copied (RFC 6040, normal mode), DF follows the inner packet (RFC 2003 section 3.1).
/// A super-packet that no longer fits the length field gets 0 there, as the kernel does for BIG TCP: it
/// is written again for each segment. `identification` counts only where fragmentation is allowed.
#[inline(always)]
pub fn outer_v4<F: Family>(
    inner: &Header<F>,
    inner_length: u32,
    via: &NextHop,
    identification: u16,
) -> [u8; 20] {
    let total = u16::try_from(inner_length + bytes(OUTER_LENGTH)).unwrap_or(0).to_be_bytes();
    let (id, fragments) =
        if inner.dont_fragment { ([0, 0], 0x40) } else { (identification.to_be_bytes(), 0) };
    let source = via.tunnel_source.v4_bytes();
    let destination = via.tunnel_destination.v4_bytes();
    let mut header = [
        0x45,
        inner.traffic_class,
        total[0],
        total[1],
        id[0],
        id[1],
        fragments,
        0,
        OUTER_HOPS,
        PROTOCOL_IPIP,
        0,
        0,
        source[0],
        source[1],
        source[2],
        source[3],
        destination[0],
        destination[1],
        destination[2],
        destination[3],
    ];
    let sum = checksum::of_header(&header);
    header[10] = sum[0];
    header[11] = sum[1];
    header
}

/// Rewrites a packet that leaves for a pod on this node: one hop less, and the link-layer header of the
/// pod's own veth pair where the agent knows it.
///
/// # Errors
/// [`Outcome::DropRewriteFailed`].
#[inline(always)]
pub fn to_local_pod<F: Family, P: PacketMut>(
    packet: &mut P,
    header: &Header<F>,
    pod: &NextHop,
) -> Result<(), Outcome> {
    one_hop_less(packet, header)?;
    if pod.mac_destination != [0; 6] {
        packet.store(0, pod.mac_destination).ok_or(Outcome::DropRewriteFailed)?;
        packet.store(6, pod.mac_source).ok_or(Outcome::DropRewriteFailed)?;
    }
    Ok(())
}

/// Takes one hop off the packet's network header.
///
/// # Errors
/// [`Outcome::DropRewriteFailed`].
#[inline(always)]
pub fn one_hop_less<F: Family, P: PacketMut>(packet: &mut P, header: &Header<F>) -> Result<(), Outcome> {
    F::decrement_hops(packet, ETHERNET_LENGTH, header).ok_or(Outcome::DropRewriteFailed)
}

/// Brings the outer header's congestion mark to the packet that was inside.
///
/// # Errors
/// [`Outcome::DropRewriteFailed`].
#[inline(always)]
pub fn congestion<F: Family, P: PacketMut>(
    packet: &mut P,
    inner: &Header<F>,
    mark: Congestion,
) -> Result<(), Outcome> {
    match mark {
        Congestion::Keep => Ok(()),
        Congestion::Mark => {
            F::mark_congestion(packet, ETHERNET_LENGTH, inner).ok_or(Outcome::DropRewriteFailed)
        }
    }
}
