use crate::{Address, Ending, Outcome};

/// Which packets are traced: the one entry of the filter map. A packet must pass every field.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceFilter {
    /// Bit `1 << outcome` for each wanted [`Outcome`].
    pub outcomes: u64,
    /// Bit `1 << hook` for each wanted [`crate::Hook`].
    pub hooks: u32,
    /// Index of the interface that the packet comes in by, leaves by, or has for its next hop; 0: any.
    pub interface: u32,
    /// One of these is an end of the packet, or of its outer header; both [`Address::NONE`]: any.
    pub addresses: [Address; 2],
    /// One packet in so many is traced, counted on each CPU; 0 counts as 1.
    pub sample: u32,
    /// Most events in a second on each CPU.
    pub rate: u32,
    /// Most bytes of each packet that are copied: 1 to [`TRACE_SNAPLEN`].
    pub snaplen: u32,
    /// Always zero.
    pub reserved: u32,
}

/// Most bytes of a packet that an event holds.
pub const TRACE_SNAPLEN: usize = 256;

/// Bytes of the ring buffer of events, while tracing is on.
pub const TRACE_BUFFER: u32 = 512 * 1024;

/// Name of the constant that turns tracing on (not 0) in programs that are loaded with it. To the verifier
/// it is known, so it removes what is off.
pub const TRACE_ON: &str = "TRACE_ON";

impl TraceFilter {
    /// Every packet, within the limits that a user gets who names none.
    pub const ALL: Self = Self {
        outcomes: u64::MAX,
        hooks: u32::MAX,
        interface: 0,
        addresses: [Address::NONE; 2],
        sample: 1,
        rate: 1_000,
        snaplen: 128,
        reserved: 0,
    };

    /// The outcomes that end so, as bits.
    #[must_use]
    pub const fn outcomes_ending(ending: Ending) -> u64 {
        let (mut bits, mut index) = (0, 0);
        while index < Outcome::ALL.len() {
            if Outcome::ALL[index].ending() as u8 == ending as u8 {
                bits |= 1 << index;
            }
            index += 1;
        }
        bits
    }

    /// Whether a packet is wanted, sampling and rate aside.
    #[inline(always)]
    #[must_use]
    pub const fn wants(&self, event: &TraceEvent) -> bool {
        if self.outcomes & (1 << (event.outcome & 63)) == 0 || self.hooks & (1 << (event.hook & 31)) == 0 {
            return false;
        }
        let interface = self.interface;
        if interface != 0
            && interface != event.in_interface
            && interface != event.out_interface
            && interface != event.next_interface
        {
            return false;
        }
        if self.addresses[0].is(&Address::NONE) && self.addresses[1].is(&Address::NONE) {
            return true;
        }
        self.names(&event.source)
            || self.names(&event.destination)
            || self.names(&event.outer_source)
            || self.names(&event.outer_destination)
    }

    #[inline(always)]
    const fn names(&self, address: &Address) -> bool {
        !address.is(&Address::NONE) && (self.addresses[0].is(address) || self.addresses[1].is(address))
    }
}

/// A packet and what became of it: an entry of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// When the program ended, in nanoseconds since boot (`CLOCK_MONOTONIC`).
    pub time: u64,
    /// A [`crate::Hook`].
    pub hook: u32,
    /// An [`Outcome`].
    pub outcome: u32,
    /// Index of the interface that the packet came in by; 0 for one that the host sends.
    pub in_interface: u32,
    /// Index of the interface that it leaves by; 0 where the program does not decide that.
    pub out_interface: u32,
    /// Index of the next hop that its destination leads to; 0 for none.
    pub next_hop: u32,
    /// Index of that next hop's interface, whether or not the packet leaves by it; 0 for none.
    pub next_interface: u32,
    /// The CPU.
    pub cpu: u32,
    /// Bytes of the frame as it came in.
    pub frame_length: u32,
    /// Bytes of the frame when the program ended.
    pub final_length: u32,
    /// How many bytes of the frame follow, as they were when the program ended.
    pub captured: u32,
    /// IANA protocol number of the packet, the innermost if it is encapsulated.
    pub protocol: u32,
    /// Source port of the packet in network byte order; 0 where there are no ports.
    pub source_port: [u8; 2],
    /// Its destination port.
    pub destination_port: [u8; 2],
    /// Source of the packet, the innermost if it is encapsulated; none if it could not be read.
    pub source: Address,
    /// Its destination.
    pub destination: Address,
    /// Source of the outer header that was put on, taken off, or is there; none without one.
    pub outer_source: Address,
    /// Destination of the outer header.
    pub outer_destination: Address,
    /// The bytes.
    pub bytes: [u8; TRACE_SNAPLEN],
}

const _: () = assert!(TRACE_SNAPLEN.is_power_of_two());

impl TraceEvent {
    /// Bytes of an entry without those of the packet.
    pub const HEAD: usize = size_of::<Self>() - TRACE_SNAPLEN;

    /// An event of nothing.
    pub const EMPTY: Self = Self {
        time: 0,
        hook: 0,
        outcome: 0,
        in_interface: 0,
        out_interface: 0,
        next_hop: 0,
        next_interface: 0,
        cpu: 0,
        frame_length: 0,
        final_length: 0,
        captured: 0,
        protocol: 0,
        source: Address::NONE,
        destination: Address::NONE,
        outer_source: Address::NONE,
        outer_destination: Address::NONE,
        source_port: [0; 2],
        destination_port: [0; 2],
        bytes: [0; TRACE_SNAPLEN],
    };

    /// The event that an entry of the ring buffer is; none if it is shorter than it says.
    #[cfg(feature = "user")]
    #[must_use]
    pub fn from_entry(entry: &[u8]) -> Option<Self> {
        let mut whole = [0; size_of::<Self>()];
        let length = entry.len().min(whole.len());
        whole[..length].copy_from_slice(&entry[..length]);
        // SAFETY: there are enough bytes, and any of them are a value of this type.
        let event = unsafe { whole.as_ptr().cast::<Self>().read_unaligned() };
        let captured = usize::try_from(event.captured).ok()?;
        let complete = captured <= TRACE_SNAPLEN && entry.len() >= Self::HEAD + captured;
        complete.then_some(event)
    }
}

/// Where one CPU stands: an entry of the per-CPU state map.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceState {
    /// Packets that passed the filter, sampled or not.
    pub wanted: u64,
    /// The second, since boot, that the rate is counted in.
    pub second: u64,
    /// Events in that second.
    pub events: u64,
    /// Packets without an event because the rate was reached.
    pub limited: u64,
    /// Packets without an event because the ring buffer was full.
    pub lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Hook;

    const POD: Address = Address::from_v4([10, 244, 1, 10]);
    const PEER: Address = Address::from_v4([10, 244, 3, 10]);
    const NODE: Address = Address::from_v4([10, 0, 1, 11]);

    fn packet() -> TraceEvent {
        TraceEvent {
            hook: Hook::FromPod as u32,
            outcome: Outcome::Ipip as u32,
            in_interface: 7,
            out_interface: 3,
            next_interface: 5,
            source: POD,
            destination: PEER,
            outer_source: NODE,
            ..TraceEvent::EMPTY
        }
    }

    #[test]
    fn a_packet_must_pass_every_field() {
        let all = TraceFilter::ALL;
        let bit = |outcome: Outcome| 1 << outcome as u32;
        let one = |address| [address, Address::NONE];
        for (filter, wanted) in [
            (all, true),
            (TraceFilter { outcomes: bit(Outcome::Ipip), ..all }, true),
            (TraceFilter { outcomes: !bit(Outcome::Ipip), ..all }, false),
            (TraceFilter { outcomes: TraceFilter::outcomes_ending(Ending::Forwarded), ..all }, true),
            (TraceFilter { outcomes: TraceFilter::outcomes_ending(Ending::Dropped), ..all }, false),
            (TraceFilter { hooks: 1 << Hook::FromPod as u32, ..all }, true),
            (TraceFilter { hooks: 1 << Hook::ToPod as u32, ..all }, false),
            (TraceFilter { interface: 7, ..all }, true),
            (TraceFilter { interface: 3, ..all }, true),
            (TraceFilter { interface: 5, ..all }, true),
            (TraceFilter { interface: 4, ..all }, false),
            (TraceFilter { addresses: one(POD), ..all }, true),
            (TraceFilter { addresses: one(PEER), ..all }, true),
            (TraceFilter { addresses: one(NODE), ..all }, true),
            (TraceFilter { addresses: [Address::NONE, PEER], ..all }, true),
            (TraceFilter { addresses: one(Address::from_v4([10, 244, 1, 11])), ..all }, false),
            (TraceFilter { addresses: one(Address::from_words([1; 4])), ..all }, false),
            (TraceFilter { addresses: one(POD), interface: 4, ..all }, false),
        ] {
            assert_eq!(filter.wants(&packet()), wanted, "{filter:?}");
        }
    }

    /// A packet whose header could not be read has no address, and so matches none.
    #[test]
    fn no_address_is_no_match() {
        let unread = TraceEvent {
            source: Address::NONE,
            destination: Address::NONE,
            outer_source: Address::NONE,
            ..packet()
        };
        assert!(TraceFilter::ALL.wants(&unread));
        assert!(!TraceFilter { addresses: [POD, Address::NONE], ..TraceFilter::ALL }.wants(&unread));
    }

    /// Masks have room for every hook and outcome; the layout has no padding.
    #[test]
    fn every_hook_and_outcome_has_a_bit() {
        assert!(Outcome::ALL.len() <= 64 && Hook::ALL.len() <= 32);
        assert_eq!(size_of::<TraceFilter>(), 8 + 4 + 4 + 32 + 16);
        assert_eq!(size_of::<TraceEvent>(), 8 + 11 * 4 + 2 * 2 + 4 * 16 + TRACE_SNAPLEN);
        assert_eq!(size_of::<TraceState>(), 5 * 8);
    }
}
