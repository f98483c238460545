//! Internet checksums (RFC 1071), with incremental update (RFC 1624).

/// Folds a sum of 16-bit words into 16 bits, with end-around carry.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    let twice = (once & 0xffff) + (once >> 16);
    #[expect(clippy::cast_possible_truncation, reason = "two folds leave 16 bits")]
    {
        twice as u16
    }
}

/// The checksum field of an IPv4 header without options, computed as if the field held zero. Words, and the
/// checksum, are as they are in memory: the sum does not depend on the order of bytes (RFC 1071, section 2).
#[inline(always)]
#[must_use]
pub fn of_header(header: &[u32; 5]) -> u16 {
    // The checksum stands in the third word beside hops and protocol.
    let [hops, protocol, _, _] = header[2].to_ne_bytes();
    let halves = |word: u32| (word & 0xffff) + (word >> 16);
    let third = u32::from(u16::from_ne_bytes([hops, protocol]));
    !fold(halves(header[0]) + halves(header[1]) + third + halves(header[3]) + halves(header[4]))
}

/// The checksum after one 16-bit word changed from `old` to `new`: RFC 1624, equation 3. All are as they
/// are in memory.
#[inline(always)]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    !fold(u32::from(!checksum) + u32::from(!old) + u32::from(new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(bytes: [u8; 20]) -> [u32; 5] {
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        [word(0), word(4), word(8), word(12), word(16)]
    }

    #[test]
    fn header_of_rfc_1071_style_example() {
        // A well-known example header; its checksum is b861.
        let header: [u8; 20] = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(of_header(&words(header)).to_ne_bytes(), [0xb8, 0x61]);
    }

    proptest! {
        /// The incremental update gives what a full computation gives. (An all-zero header, for which
        /// the two zeros of one's complement differ, cannot be IPv4: its version is not 4.)
        #[test]
        fn update_equals_recomputation(mut header: [u8; 20], word in 0_usize..10, new: [u8; 2]) {
            prop_assume!(word != 5);
            header[0] = 0x45;
            let before = of_header(&words(header));
            let at = |header: &[u8; 20]| u16::from_ne_bytes([header[word * 2], header[word * 2 + 1]]);
            let old = at(&header);
            header[word * 2] = if word == 0 { 0x45 } else { new[0] };
            header[word * 2 + 1] = new[1];
            let now = at(&header);
            prop_assert_eq!(update(before, old, now), of_header(&words(header)));
        }
    }
}
