//! The packet that each repetition starts with.

use std::net::IpAddr;

use etherparse::Ipv4Header;
use node_ebpf_common::bench::{HEADERS, Target, Template};

const NETWORK_HEADER: usize = 14;

/// A change of the room for headers, as a program of the datapath makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// Bytes by which the packet grows, or shrinks if negative.
    pub difference: i32,
    /// The flags for `bpf_skb_adjust_room` that it asks for.
    pub flags: u32,
    /// The flag that tells the kernel that the packet is of another family now; or zero.
    pub other_family: u32,
}

/// What each repetition starts with.
pub struct Start<'f> {
    /// The frame.
    pub frame: &'f [u8],
    /// Where its destinations are, and how many; none to leave it as it is.
    pub targets: (u32, u32),
    /// The change of room that the program makes, if it makes one.
    pub room: Room,
}

impl Start<'_> {
    /// As the program that puts it back wants it.
    #[must_use]
    pub fn template(&self) -> Template {
        let (first, count) = self.targets;
        let mut headers = [0; HEADERS];
        let length = self.frame.len().min(HEADERS);
        headers[..length].copy_from_slice(&self.frame[..length]);
        Template {
            length: small(self.frame.len()),
            protocol: u32::from(u16::from_ne_bytes([self.frame[12], self.frame[13]])),
            first,
            targets: count,
            next: first,
            room: self.room.difference,
            room_flags: self.room.flags,
            other_family: self.room.other_family,
            headers_length: small(length),
            reserved: 0,
            headers,
            end: 0,
        }
    }
}

fn small(length: usize) -> u32 {
    u32::try_from(length).expect("a packet's length")
}

/// A destination for this frame, with the checksum that its IPv4 header has then.
#[must_use]
pub fn target(frame: &[u8], destination: IpAddr) -> Target {
    let frame = readdressed(frame, destination);
    let word = |at: usize| u32::from_ne_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
    match destination {
        IpAddr::V4(_) => {
            let checksum = u16::from_ne_bytes([frame[NETWORK_HEADER + 10], frame[NETWORK_HEADER + 11]]);
            Target { address: [word(NETWORK_HEADER + 16), 0, 0, 0], checksum: checksum.into() }
        }
        IpAddr::V6(_) => {
            Target { address: [24, 28, 32, 36].map(|at| word(NETWORK_HEADER + at)), checksum: 0 }
        }
    }
}

/// This frame for another destination of its family.
#[must_use]
pub fn readdressed(frame: &[u8], destination: IpAddr) -> Vec<u8> {
    let mut frame = frame.to_vec();
    match destination {
        IpAddr::V4(v4) => {
            let (mut header, _) = Ipv4Header::from_slice(&frame[NETWORK_HEADER..]).expect("an IPv4 packet");
            header.destination = v4.octets();
            header.header_checksum = header.calc_header_checksum();
            frame[NETWORK_HEADER..NETWORK_HEADER + header.header_len()].copy_from_slice(&header.to_bytes());
        }
        IpAddr::V6(v6) => frame[NETWORK_HEADER + 24..NETWORK_HEADER + 40].copy_from_slice(&v6.octets()),
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::cases::cases;

    /// What the program that puts a packet back writes is the packet for the target.
    #[test]
    fn a_target_is_what_differs_in_the_frame() {
        let (v4, v6) = ([11, 1, 2, 3].into(), IpAddr::from([0xfd01, 1, 2, 3, 4, 5, 6, 7]));
        for case in cases() {
            let (destination, at) = if case.frame[12] == 0x08 { (v4, 30) } else { (v6, 38) };
            let (target, wanted) = (target(&case.frame, destination), readdressed(&case.frame, destination));
            let mut frame = case.frame.clone();
            for (number, word) in
                target.address.iter().enumerate().filter(|(number, _)| *number == 0 || at == 38)
            {
                frame[at + 4 * number..at + 4 * number + 4].copy_from_slice(&word.to_ne_bytes());
            }
            if at == 30 {
                let checksum = u16::try_from(target.checksum).unwrap();
                frame[24..26].copy_from_slice(&checksum.to_ne_bytes());
            }
            assert_eq!(frame, wanted);
            if at == 30 {
                let (header, _) = Ipv4Header::from_slice(&frame[14..]).unwrap();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
            }
        }
    }
}
