/// Buckets of a group. A power of two.
pub const GROUP_BUCKETS: usize = 16;

/// Several ways to one place (equal-cost multipath): an entry of the next-hop groups array, which next-hop objects
/// name by [`crate::NextHop::group`]. Every flow belongs to a bucket, and a bucket to one of the ways.
///
/// Each bucket is a word by itself, so that a program that reads while the agent writes finds the old or the new
/// member.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextHopGroup {
    /// [`crate::NextHop::identity`] of the next hop that the group belongs to, by which the agent finds it again after a
    /// restart; 0 if the entry is free. Programs do not read it.
    pub identity: u64,
    /// Indices of the members' next-hop objects.
    pub buckets: [u32; GROUP_BUCKETS],
}

impl NextHopGroup {
    /// The bucket of a flow with this hash: its uppermost bits, which depend on every bit of what was hashed.
    #[inline(always)]
    #[must_use]
    pub const fn bucket(hash: u32) -> usize {
        (hash >> (u32::BITS - GROUP_BUCKETS.trailing_zeros())) as usize
    }

    /// The index of the member that a flow with this hash goes by.
    #[inline(always)]
    #[must_use]
    pub const fn member(&self, hash: u32) -> u32 {
        self.buckets[Self::bucket(hash)]
    }
}

const _: () = assert!(GROUP_BUCKETS.is_power_of_two());
