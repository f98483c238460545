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

/// The checksum field of an IPv4 header of 20 bytes, computed as if the field held zero.
#[inline(always)]
#[must_use]
pub fn of_header(header: &[u8; 20]) -> [u8; 2] {
    let mut sum = 0_u32;
    let mut at = 0;
    while at < 20 {
        if at != 10 {
            sum += u32::from(u16::from_be_bytes([header[at], header[at + 1]]));
        }
        at += 2;
    }
    (!fold(sum)).to_be_bytes()
}

/// The checksum after one 16-bit word changed from `old` to `new`: RFC 1624, equation 3.
#[inline(always)]
#[must_use]
pub fn update(checksum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let sum = u32::from(!u16::from_be_bytes(checksum))
        + u32::from(!u16::from_be_bytes(old))
        + u32::from(u16::from_be_bytes(new));
    (!fold(sum)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_of_rfc_1071_style_example() {
        // A well-known example header; its checksum is b861.
        let header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8, 0x61, 0xc0, 0xa8, 0x00, 0x01,
            0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(of_header(&header), [0xb8, 0x61]);
    }

    proptest! {
        /// The incremental update gives what a full computation gives. (An all-zero header, for which
        /// the two zeros of one's complement differ, cannot be IPv4: its version is not 4.)
        #[test]
        fn update_equals_recomputation(mut header: [u8; 20], word in 0_usize..10, new: [u8; 2]) {
            prop_assume!(word != 5);
            header[0] = 0x45;
            let before = of_header(&header);
            let old = [header[word * 2], header[word * 2 + 1]];
            header[word * 2] = if word == 0 { 0x45 } else { new[0] };
            header[word * 2 + 1] = new[1];
            let now = [header[word * 2], header[word * 2 + 1]];
            prop_assert_eq!(update(before, old, now), of_header(&header));
        }
    }
}
