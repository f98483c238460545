//! What the benchmark's BPF programs and its harness share. Nothing of it is in what users run.

/// Bytes of a packet that are put back before each repetition: Ethernet and two IPv6 headers, and some.
pub const HEADERS: usize = 96;

/// Packets' destinations that are taken in turn.
pub const TARGETS: u32 = 1 << 17;

/// Destinations in one run of a lookup program.
pub const LOOKUPS: usize = 256;

/// IPv4 destinations that the map holds, in groups of [`LOOKUPS`].
pub const GROUPS_V4: u32 = 3 << 12;

/// IPv6 destinations, likewise.
pub const GROUPS_V6: u32 = 3 << 10;

/// The packet that each repetition starts with, and where it differs from the one before.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Length of the frame in bytes.
    pub length: u32,
    /// Its EtherType, as `skb->protocol` has it: the two bytes in network byte order.
    pub protocol: u32,
    /// The first of its targets.
    pub first: u32,
    /// How many of them are taken in turn as destination; none to leave the packet as it is.
    pub targets: u32,
    /// The target that is next.
    pub next: u32,
    /// For the program that only changes the room: by how many bytes the frame grows, or shrinks if negative.
    pub room: i32,
    /// `BPF_F_ADJ_ROOM_*` that it does so with.
    pub room_flags: u32,
    /// The flag that tells the kernel of the other family, for a header of another family than the packet's; or zero.
    pub other_family: u32,
    /// How many of `headers` are put back.
    pub headers_length: u32,
    /// Zero; makes the addresses in `headers` aligned.
    pub reserved: u16,
    /// How the frame starts.
    pub headers: [u8; HEADERS],
    /// Zero.
    pub end: u16,
}

/// A destination.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// The address in network byte order; of IPv4 the first word.
    pub address: [u32; 4],
    /// The IPv4 header's checksum with it, as it is in the header.
    pub checksum: u32,
}

/// What a lookup program works through.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// [`checksum`] of what it found, over all runs.
    pub checksum: u64,
    /// The first of its groups of destinations.
    pub first: u32,
    /// How many groups there are from there: a power of two.
    pub groups: u32,
    /// The group that is next, from the first one.
    pub next: u32,
    /// Zero, which no program knows: what a lookup that depends on the one before takes from it.
    pub zero: u32,
}

// Free of padding, which aya's `Pod` asks for.
const _: () = assert!(size_of::<Template>() == 9 * 4 + 2 + HEADERS + 2);
const _: () = assert!(size_of::<Target>() == 4 * 4 + 4 && size_of::<Work>() == 8 + 4 * 4);

/// Adds what a lookup found to what those before it did. It tells apart values and their order.
#[inline(always)]
#[must_use]
pub const fn checksum(before: u64, found: u32) -> u64 {
    before.rotate_left(1) ^ found as u64
}

/// What a lookup program counts for a destination that no prefix matches.
pub const NOT_FOUND: u32 = 0;

/// Names of the maps.
pub mod map_name {
    /// Array of one [`super::Template`].
    pub const TEMPLATE: &str = "TEMPLATE";
    /// Array of [`super::Target`].
    pub const TARGETS: &str = "TARGETS";
    /// Program array of one: the tc program that is repeated.
    pub const REPEATED: &str = "REPEATED";
    /// Program array of one: the XDP program that is repeated.
    pub const REPEATED_XDP: &str = "REPEATED_XDP";
    /// Array of one [`super::Work`].
    pub const WORK: &str = "WORK";
    /// Array of groups of IPv4 addresses in network byte order.
    pub const DESTINATIONS_V4: &str = "DESTINATIONS_V4";
    /// Array of groups of IPv6 addresses in network byte order.
    pub const DESTINATIONS_V6: &str = "DESTINATIONS_V6";
    /// Hash of IPv4 /24 prefix → [`crate::Route`].
    pub const HASH_V4: &str = "HASH_V4";
}
