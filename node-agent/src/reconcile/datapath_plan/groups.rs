//! Next-hop groups: which index each has, and which member each of its buckets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use node_ebpf_common::{GROUP_BUCKETS, MAX_NEXT_HOP_GROUPS, NextHopGroup};

use super::{MapChange, ObservedDatapath};
use crate::model::{NextHopKey, WantedDatapath};

/// Next hops for whose groups there is no free index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} next hops use one of their ways only: the map holds {limit} groups (the first left out is {})",
    left_out.len(),
    left_out.first().map(ToString::to_string).unwrap_or_default()
)]
pub struct Exhausted {
    /// How many groups fit.
    pub limit: u32,
    /// Whose are left out.
    pub left_out: Vec<NextHopKey>,
}

/// The groups as they should be.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// Index and content, by owner.
    by_owner: BTreeMap<NextHopKey, (u32, NextHopGroup)>,
    /// What does not fit.
    pub(super) exhausted: Option<Exhausted>,
}

impl Groups {
    /// Gives every wanted group with at least two members an index: the one at which a group of its identity is
    /// observed (the lowest, if a crash left several), otherwise a free one.
    pub(super) fn plan(
        wanted: &WantedDatapath,
        observed: &ObservedDatapath,
        assignments: &BTreeMap<NextHopKey, u32>,
        search_from: u32,
    ) -> Self {
        let mut by_identity: BTreeMap<u64, VecDeque<u32>> = BTreeMap::new();
        for (index, group) in observed.groups.range(1..MAX_NEXT_HOP_GROUPS) {
            by_identity.entry(group.identity).or_default().push_back(*index);
        }
        let mut free = free_indices(observed, search_from);
        let mut by_owner = BTreeMap::new();
        let mut left_out = Vec::new();
        for (owner, members) in &wanted.groups {
            let members: BTreeSet<u32> =
                members.iter().filter_map(|member| assignments.get(member)).copied().collect();
            // One way is no choice: the owner has it by itself.
            if members.len() < 2 || !assignments.contains_key(owner) {
                continue;
            }
            let identity = owner.identity();
            let known = by_identity.get_mut(&identity).and_then(VecDeque::pop_front);
            let Some(index) = known.or_else(|| free.next()) else {
                left_out.push(owner.clone());
                continue;
            };
            let before = observed.groups.get(&index).map(|group| group.buckets).unwrap_or_default();
            let group = NextHopGroup { identity, buckets: buckets(before, &members) };
            by_owner.insert(owner.clone(), (index, group));
        }
        let limit = MAX_NEXT_HOP_GROUPS - 1;
        let exhausted = (!left_out.is_empty()).then_some(Exhausted { limit, left_out });
        Self { by_owner, exhausted }
    }

    /// The group that this next hop names; 0 if it has none.
    pub(super) fn of(&self, owner: &NextHopKey) -> u32 {
        self.by_owner.get(owner).map_or(0, |(index, _)| *index)
    }

    /// What has to be written.
    pub(super) fn to_set(&self, observed: &ObservedDatapath) -> impl Iterator<Item = MapChange> {
        let differs = |(index, group): &&(u32, NextHopGroup)| observed.groups.get(index) != Some(group);
        self.by_owner
            .values()
            .filter(differs)
            .map(|(index, group)| MapChange::SetGroup { index: *index, group: *group })
    }

    /// Groups that must stay, beside the planned ones: those that are named by next hops which stay as they are. Their
    /// members are added to what stays.
    pub(super) fn kept(
        &self,
        observed: &ObservedDatapath,
        next_hops: &mut BTreeSet<u32>,
        assignments: &BTreeMap<NextHopKey, u32>,
    ) -> BTreeSet<u32> {
        let rewritten: BTreeSet<u32> = assignments.values().copied().collect();
        let unchanged = next_hops.iter().filter(|index| !rewritten.contains(index));
        let named = unchanged.filter_map(|index| observed.next_hops.get(index)).map(|owner| owner.group);
        let mut kept: BTreeSet<u32> = named.filter(|group| *group != 0).collect();
        for group in kept.iter().filter_map(|index| observed.groups.get(index)) {
            next_hops.extend(group.buckets);
        }
        kept.extend(self.by_owner.values().map(|(index, _)| *index));
        kept
    }
}

/// Free indices, once around from a start. Index 0 is never one of them: next hops without a group name it. What a next
/// hop names is not free even if nothing is there.
fn free_indices(observed: &ObservedDatapath, start: u32) -> impl Iterator<Item = u32> + use<> {
    const ALL: u32 = MAX_NEXT_HOP_GROUPS - 1;
    let named = observed.next_hops.values().map(|next_hop| next_hop.group);
    let occupied: BTreeSet<u32> = observed.groups.keys().copied().chain(named).collect();
    let at = move |offset| 1 + (start.saturating_sub(1) % ALL + offset) % ALL;
    (0..ALL).map(at).filter(move |index| !occupied.contains(index))
}

/// Gives the buckets to the members, evenly: no member has two more than another. A bucket stays with its member as far
/// as that allows, so that no more flows change their way than must: if a member goes, its own, and if one comes, those
/// that it gets.
///
/// There are two members at least, and no more than buckets matter.
pub(super) fn buckets(before: [u32; GROUP_BUCKETS], members: &BTreeSet<u32>) -> [u32; GROUP_BUCKETS] {
    let members: Vec<u32> = members.iter().copied().take(GROUP_BUCKETS).collect();
    if members.is_empty() {
        return before;
    }
    let had = |member: &u32| before.iter().filter(|bucket| *bucket == member).count();
    let (fair, rest) = (GROUP_BUCKETS / members.len(), GROUP_BUCKETS % members.len());
    // Those that had most keep the odd ones.
    let mut by_had = members;
    by_had.sort_by_key(|member| (std::cmp::Reverse(had(member)), *member));
    let mut due: BTreeMap<u32, usize> = by_had
        .iter()
        .enumerate()
        .map(|(place, member)| (*member, fair + usize::from(place < rest)))
        .collect();
    let mut take = |member: u32| match due.get_mut(&member) {
        Some(left) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    };
    let mut after = before;
    let moving: Vec<usize> = (0..GROUP_BUCKETS).filter(|place| !take(before[*place])).collect();
    // In turn, so that a new group's buckets alternate.
    let mut turn = by_had.iter().cycle();
    for place in moving {
        for member in turn.by_ref() {
            if take(*member) {
                after[place] = *member;
                break;
            }
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use proptest::{collection::btree_set, prelude::*, sample::Index};

    use super::*;

    fn counts(buckets: &[u32; GROUP_BUCKETS], members: &BTreeSet<u32>) -> Vec<usize> {
        members.iter().map(|member| buckets.iter().filter(|bucket| *bucket == member).count()).collect()
    }

    fn moved(before: &[u32; GROUP_BUCKETS], after: &[u32; GROUP_BUCKETS]) -> Vec<usize> {
        (0..GROUP_BUCKETS).filter(|place| before[*place] != after[*place]).collect()
    }

    #[test]
    fn two_members_take_turns() {
        assert_eq!(buckets([0; GROUP_BUCKETS], &BTreeSet::from([5, 9]))[..4], [5, 9, 5, 9]);
    }

    proptest! {
        #[test]
        fn members_have_equal_shares_whatever_was_there(
            before in prop::array::uniform16(0_u32..20), members in btree_set(1_u32..20, 1..=GROUP_BUCKETS),
        ) {
            let after = buckets(before, &members);
            prop_assert!(after.iter().all(|bucket| members.contains(bucket)));
            let counts = counts(&after, &members);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{counts:?}");
            prop_assert_eq!(buckets(after, &members), after, "nothing moves without need");
        }

        /// Flows by the ways that stay are not touched.
        #[test]
        fn if_a_member_goes_only_its_buckets_move(
            before in prop::array::uniform16(0_u32..20),
            members in btree_set(1_u32..20, 2..=GROUP_BUCKETS), goes in any::<Index>(),
        ) {
            let before = buckets(before, &members);
            let gone = *goes.get(&members.iter().copied().collect::<Vec<_>>());
            let rest: BTreeSet<u32> = members.iter().copied().filter(|member| *member != gone).collect();
            let after = buckets(before, &rest);
            prop_assert!(moved(&before, &after).iter().all(|place| before[*place] == gone));
        }

        #[test]
        fn if_a_member_comes_only_its_share_moves(
            before in prop::array::uniform16(0_u32..20), members in btree_set(1_u32..20, 1..GROUP_BUCKETS),
        ) {
            let before = buckets(before, &members);
            let more: BTreeSet<u32> = members.iter().copied().chain([99]).collect();
            let after = buckets(before, &more);
            prop_assert!(moved(&before, &after).iter().all(|place| after[*place] == 99));
            let share = GROUP_BUCKETS / more.len();
            prop_assert!((share..=share + 1).contains(&moved(&before, &after).len()));
        }
    }
}
