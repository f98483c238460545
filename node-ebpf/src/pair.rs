//! Numbers for pairs of addresses, by which the programs know at once that no flow between them is translated, and
//! for flows, by which one of several ways is chosen.

use node_ebpf_common::TRANSLATED_PAIRS;

/// Odd, without a pattern: 2^64 divided by the golden ratio.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Two words as one.
#[inline(always)]
#[must_use]
pub const fn join(high: u32, low: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Both as one, such that changing any bit of either changes about half of the bits that count in the end. Which is
/// which matters.
#[inline(always)]
#[must_use]
pub const fn mix(one: u64, other: u64) -> u64 {
    let product = (one ^ one >> 32).wrapping_mul(FACTOR) ^ other;
    (product ^ product >> 29).wrapping_mul(FACTOR)
}

/// Of a mixed number, the place of its pair: below [`TRANSLATED_PAIRS`].
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "as many bits are left as TRANSLATED_PAIRS has")]
pub const fn place(mixed: u64) -> u32 {
    (mixed >> (64 - TRANSLATED_PAIRS.trailing_zeros())) as u32
}

/// Of a mixed number, a hash whose uppermost bits depend on all of what was mixed, and not in step: once more, because
/// ports and seeds that follow each other would otherwise be told apart by a fixed difference.
#[inline(always)]
#[must_use]
pub const fn hash(mixed: u64) -> u32 {
    ((mixed ^ mixed >> 32).wrapping_mul(FACTOR) >> 32) as u32
}
