//! A frame as the driver has received it: context fields, direct access to its bytes, and the helpers that move
//! it on.

use core::{mem, ptr};

use aya_ebpf::{
    bindings::{BPF_FIB_LKUP_RET_SUCCESS, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup, xdp_action, xdp_md},
    helpers::generated::{bpf_fib_lookup as look_up, bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
};
use node_ebpf::{ETHER_TYPE_OFFSET, Family, Outcome, Packet, PacketMut};
use node_ebpf_common::{NextHop, Uplink};

use super::maps::DEVICES;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// A frame, for the duration of the program.
pub struct Frame {
    raw: *mut xdp_md,
}

/// Link-layer addresses of a frame that leaves: destination, then source, as they are in the frame.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct LinkLayer([u8; 12]);

impl Frame {
    #[inline(always)]
    pub fn new(raw: *mut xdp_md) -> Self {
        Self { raw }
    }

    /// The kernel's context.
    #[inline(always)]
    pub fn raw(&self) -> *mut xdp_md {
        self.raw
    }

    /// Index of the interface that it came in on.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self.raw).ingress_ifindex }
    }

    /// Whether it was sent to the uplink's own link-layer address.
    #[inline(always)]
    pub fn is_for(&self, uplink: &Uplink) -> bool {
        let [a, b, c, d, e, f] = uplink.mac;
        self.load(0) == Some(u32::from_ne_bytes([a, b, c, d]))
            && self.load(4) == Some(u16::from_ne_bytes([e, f]))
    }

    /// Whether it is a packet of this family.
    #[inline(always)]
    pub fn is<F: Family>(&self) -> bool {
        self.load(ETHER_TYPE_OFFSET) == Some(u16::from_ne_bytes(F::ETHER_TYPE))
    }

    /// Whether it is in more than one buffer, of which only the first can be read here.
    #[inline(always)]
    pub fn is_in_fragments(&self) -> bool {
        self.start() + (self.len() as usize & 0xffff) > self.end()
    }

    /// Removes an outer header of this length. The frame is left as it was if the kernel refuses.
    #[inline(always)]
    pub fn decapsulate<I: Family>(&mut self, outer: usize) -> Result<(), Outcome> {
        let addresses: [u32; 3] = self.load(0).ok_or(Outcome::Pass)?;
        // SAFETY: the context is valid; pointers into the packet are read anew after this.
        if unsafe { bpf_xdp_adjust_head(self.raw, outer as i32) } != 0 {
            return Err(Outcome::Pass);
        }
        self.store(0, addresses).ok_or(Outcome::DropRewriteFailed)?;
        self.store(ETHER_TYPE_OFFSET, I::ETHER_TYPE).ok_or(Outcome::DropRewriteFailed)
    }

    /// The link-layer addresses on the way to the next hop's gateway, if the kernel knows its neighbour: from its
    /// own tables, so that there is no second idea of who is where.
    #[inline(always)]
    pub fn neighbour(&self, via: &NextHop) -> Option<LinkLayer> {
        // SAFETY: the structure is plain numbers, of which zero is valid.
        let mut lookup: bpf_fib_lookup = unsafe { mem::zeroed() };
        lookup.ifindex = via.interface;
        let v4 = via.gateway.is_v4();
        if v4 {
            lookup.family = AF_INET;
            lookup.__bindgen_anon_4.ipv4_dst = via.gateway.v4_word();
        } else {
            lookup.family = AF_INET6;
            lookup.__bindgen_anon_4.ipv6_dst = via.gateway.words();
        }
        let size = size_of::<bpf_fib_lookup>() as i32;
        // SAFETY: the context is valid, and the structure has this size.
        let found = unsafe { look_up(self.raw.cast(), &mut lookup, size, BPF_FIB_LOOKUP_OUTPUT) };
        // SAFETY: the kernel leaves the family, and with it the field of the union.
        let last = unsafe {
            if v4 { lookup.__bindgen_anon_4.ipv4_dst } else { lookup.__bindgen_anon_4.ipv6_dst[3] }
        };
        // Another destination is the gateway of a route that is in the way of ours.
        if found != i64::from(BPF_FIB_LKUP_RET_SUCCESS)
            || lookup.ifindex != via.interface
            || last != via.gateway.v4_word()
        {
            return None;
        }
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (lookup.dmac, lookup.smac);
        Some(LinkLayer([a, b, c, d, e, f, g, h, i, j, k, l]))
    }

    /// Tells the kernel to send the frame out through this interface once the program says so. `None` if it
    /// is none that can be sent through.
    #[inline(always)]
    pub fn redirect(interface: u32) -> Option<u32> {
        DEVICES.redirect(interface, u64::from(xdp_action::XDP_PASS)).ok()
    }

    /// Writes the link-layer addresses.
    #[inline(always)]
    pub fn address(&mut self, link_layer: &LinkLayer) -> Result<(), Outcome> {
        self.store(0, link_layer.0).ok_or(Outcome::DropRewriteFailed)
    }

    /// Where the readable part starts. Read anew each time, as for an skb.
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the kernel hands a valid context to the program.
        (unsafe { ptr::read_volatile(&raw const (*self.raw).data) }) as usize
    }

    /// Where the readable part ends.
    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        (unsafe { ptr::read_volatile(&raw const (*self.raw).data_end) }) as usize
    }

    /// Where `T` lies at this offset, if the readable part reaches so far.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start() + (offset & 0x1fff);
        if start + size_of::<T>() > self.end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Packet for Frame {
    /// Nothing can be pulled here: what is not in the first buffer is left to tc.
    #[inline(always)]
    fn reach(&mut self, _: usize) {}

    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the bounds are checked, and T is plain bytes; of odd addresses as for an skb.
        self.at::<T>(offset).map(|at| unsafe { ptr::read(at) })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        (unsafe { bpf_xdp_get_buff_len(self.raw) }) as u32
    }

    /// Super-packets are made later, by GRO.
    #[inline(always)]
    fn segment_size(&self) -> u32 {
        0
    }
}

impl PacketMut for Frame {
    #[inline(always)]
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: the bounds are checked, and a frame is writable; of odd addresses as for an skb.
        self.at::<T>(offset).map(|at| unsafe { ptr::write(at, value) })
    }
}
