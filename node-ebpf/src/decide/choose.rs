//! Which of several ways a packet goes, where its next hop has a group (equal-cost multipath).

use node_ebpf_common::{Address, GROUP_BUCKETS, NextHop, NextHopKind};

use super::resolve;
use crate::{Family, Header, Tables};

/// The next hop for this packet, of the one that its route names: where there are several ways, the one that its flow
/// goes by.
#[inline(always)]
pub(super) fn choose<'t, F: Family, T: Tables>(
    header: &Header<F>,
    tables: &'t T,
    (owner, kind): (&'t NextHop, NextHopKind),
) -> (&'t NextHop, NextHopKind) {
    if owner.group == 0 {
        return (owner, kind);
    }
    // Where a member has gone, the group is about to be written; the owner by itself is a way, too.
    member(header, tables, owner).unwrap_or((owner, kind))
}

#[inline(always)]
fn member<'t, F: Family, T: Tables>(
    header: &Header<F>,
    tables: &'t T,
    owner: &NextHop,
) -> Option<(&'t NextHop, NextHopKind)> {
    let group = tables.group(owner.group)?;
    // This node's address, which no other has.
    let hash = F::hash(header, owner.tunnel_source.v4_word());
    resolve(tables, group.member(hash)).ok()
}

/// Whether packets that come through a tunnel from this node may be of a prefix with this next hop: it leads there,
/// or one of its ways does.
#[inline(always)]
pub(super) fn leads_to_node<T: Tables>(owner: &NextHop, node: &Address, tables: &T) -> bool {
    if owner.tunnel_destination.is(node) {
        return true;
    }
    if owner.group == 0 {
        return false;
    }
    let Some(group) = tables.group(owner.group) else { return false };
    for bucket in 0..GROUP_BUCKETS {
        let leads = matches!(
            resolve(tables, group.buckets[bucket]),
            Ok((member, NextHopKind::Direct | NextHopKind::Ipip)) if member.tunnel_destination.is(node)
        );
        if leads {
            return true;
        }
    }
    false
}
