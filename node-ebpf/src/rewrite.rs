//! What is written into packets: hop counts, link-layer headers, congestion marks.

use node_ebpf_common::NextHop;

use crate::{ETHERNET_LENGTH, Family, Header, Outcome, PacketMut, decide::Congestion};

/// Time to live of outer headers: the tunnel is one hop for the packet inside, whatever lies between.
pub const OUTER_HOPS: u8 = 64;

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
pub fn congestion<F: Family, P: PacketMut>(packet: &mut P, mark: Congestion) -> Result<(), Outcome> {
    match mark {
        Congestion::Keep => Ok(()),
        Congestion::Mark => F::mark_congestion(packet, ETHERNET_LENGTH).ok_or(Outcome::DropRewriteFailed),
    }
}
