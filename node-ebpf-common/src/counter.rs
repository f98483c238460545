use crate::{Hook, Outcome};

/// Packets and bytes that ended in one [`Outcome`] at one [`Hook`], on one CPU. Bytes count the whole
/// frame as it came in, a GSO super-packet as one packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, link-layer header included.
    pub bytes: u64,
}

/// Slots reserved for each hook, so that a new outcome does not move the counters of another hook.
pub const OUTCOMES_PER_HOOK: u32 = 48;

/// Slots in the counters map.
pub const COUNTERS: u32 = OUTCOMES_PER_HOOK * Hook::COUNT;

/// Where the counters map holds this hook's outcome.
#[inline(always)]
#[must_use]
pub const fn counter_index(hook: Hook, outcome: Outcome) -> u32 {
    hook as u32 * OUTCOMES_PER_HOOK + outcome as u32
}

const _: () = assert!(Outcome::ALL.len() <= OUTCOMES_PER_HOOK as usize);
