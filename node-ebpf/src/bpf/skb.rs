//! The kernel's packet: context fields, direct access to its bytes, and the helpers that move it.

use core::ptr;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4,
        BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
        bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    },
    helpers::generated::{bpf_get_hash_recalc, bpf_get_prandom_u32, bpf_redirect_neigh, bpf_redirect_peer},
    programs::TcContext,
};
use node_ebpf::{ETHER_TYPE_OFFSET, ETHERNET_LENGTH, Family, Outcome, Packet, PacketMut, V4, V6};
use node_ebpf_common::NextHop;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
/// `PACKET_HOST`: the frame was sent to this host's own link-layer address.
const PACKET_HOST: u32 = 0;
/// Less than any header, in bytes.
const SOME_ROOM: i32 = 4;

/// What the kernel's helpers need to know of an address family.
pub trait KernelFamily: Family {
    /// Flag that tells of an outer header of this family that is put on.
    const ENCAPSULATE: u32;
    /// Flag that tells of an inner header of this family that comes to light.
    const DECAPSULATE: u32;
    /// A number for the outer header: what tells apart the packets (IPv4) or the flows (IPv6).
    fn number(skb: &Skb<'_>) -> u32;
}

impl KernelFamily for V4 {
    const ENCAPSULATE: u32 = BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
    const DECAPSULATE: u32 = BPF_F_ADJ_ROOM_DECAP_L3_IPV4;

    #[inline(always)]
    fn number(_: &Skb<'_>) -> u32 {
        // SAFETY: the helper has no preconditions.
        unsafe { bpf_get_prandom_u32() }
    }
}

impl KernelFamily for V6 {
    const ENCAPSULATE: u32 = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6;
    const DECAPSULATE: u32 = BPF_F_ADJ_ROOM_DECAP_L3_IPV6;

    #[inline(always)]
    fn number(skb: &Skb<'_>) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { bpf_get_hash_recalc(skb.raw) }
    }
}

/// An skb, for the duration of one program.
pub struct Skb<'c> {
    ctx: &'c TcContext,
    raw: *mut __sk_buff,
}

impl<'c> Skb<'c> {
    #[inline(always)]
    pub fn new(ctx: &'c TcContext) -> Self {
        Self { ctx, raw: ctx.skb.skb }
    }

    /// The kernel's context.
    #[inline(always)]
    pub fn raw(&self) -> *mut __sk_buff {
        self.raw
    }

    /// Length of the frame in bytes.
    #[inline(always)]
    pub fn frame_length(&self) -> u32 {
        self.ctx.len()
    }

    /// Whether the frame was sent to this host's own link-layer address.
    #[inline(always)]
    pub fn is_unicast(&self) -> bool {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self.raw).pkt_type == PACKET_HOST }
    }

    /// Whether it is a packet of this family.
    #[inline(always)]
    pub fn is<F: Family>(&self) -> bool {
        // SAFETY: as above. `skb->protocol` is in network byte order.
        unsafe { (*self.raw).protocol == u32::from(u16::from_ne_bytes(F::ETHER_TYPE)) }
    }

    /// Index of the interface that the packet is at.
    #[inline(always)]
    pub fn interface(&self) -> u32 {
        // SAFETY: as above.
        unsafe { (*self.raw).ifindex }
    }

    /// Sets a bit of the mark.
    #[inline(always)]
    pub fn set_mark(&mut self, bit: u32) {
        // SAFETY: as above; the field is writable for tc programs.
        unsafe { (*self.raw).mark |= bit }
    }

    /// Whether a bit of the mark is set.
    #[inline(always)]
    pub fn has_mark(&self, bit: u32) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).mark & bit != 0 }
    }

    /// Clears a bit of the mark and tells whether it was set.
    #[inline(always)]
    pub fn take_mark(&mut self, bit: u32) -> bool {
        // SAFETY: as above.
        unsafe {
            let mark = (*self.raw).mark;
            if mark & bit == 0 {
                return false;
            }
            (*self.raw).mark = mark & !bit;
            true
        }
    }

    /// Adds an outer header of family `O` to a packet of family `I`. The kernel learns that this is a tunnel,
    /// so that segmentation and checksum offload treat the inner packet rightly; its segments keep their size,
    /// which the decision has checked.
    #[inline(always)]
    pub fn encapsulate<O: KernelFamily, I: Family>(&mut self, outer: O::Outer) -> Result<(), Outcome> {
        let (length, flags) = (O::HEADER_LENGTH as i32, BPF_F_ADJ_ROOM_FIXED_GSO);
        if self.adjust_room(length, flags | O::ENCAPSULATE).is_err() {
            // What has come out of a tunnel keeps the kernel's note of it (`skb->encapsulation` and where the inner
            // header is), and the kernel takes no second one: the first still tells what it has to.
            self.adjust_room(length, flags)?;
            if O::PROTOCOL != I::PROTOCOL {
                // With that flag it would also have learned of the other family. A few bytes of the new room are
                // given back and taken again, because it is told so only where a header comes off.
                self.adjust_room(-SOME_ROOM, flags | O::DECAPSULATE)?;
                self.adjust_room(SOME_ROOM, flags)?;
            }
        }
        self.store_ether_type::<O, I>()?;
        self.store(ETHERNET_LENGTH, outer).ok_or(Outcome::DropRewriteFailed)
    }

    /// Removes an outer header of family `O` and this length; a packet of family `I` is inside. Where both
    /// are the same no flag is needed, which kernels before 6.3 do not know.
    #[inline(always)]
    pub fn decapsulate<O: Family, I: KernelFamily>(&mut self, outer: usize) -> Result<(), Outcome> {
        let (length, flags) = (outer as i32, BPF_F_ADJ_ROOM_FIXED_GSO);
        if O::PROTOCOL == I::PROTOCOL {
            return self.adjust_room(-length, flags);
        }
        if self.adjust_room(-length, flags | I::DECAPSULATE).is_err() {
            // Those can do it by the way to translate packets, which makes the outer header as much longer or
            // shorter as a header of the other family is. Then it comes off.
            self.ctx
                .change_proto(u16::from_ne_bytes(I::ETHER_TYPE), 0)
                .map_err(|_| Outcome::DropRewriteFailed)?;
            self.adjust_room(O::HEADER_LENGTH as i32 - I::HEADER_LENGTH as i32 - length, flags)?;
        }
        self.store_ether_type::<I, O>()
    }

    #[inline(always)]
    fn adjust_room(&mut self, difference: i32, flags: u32) -> Result<(), Outcome> {
        self.ctx
            .adjust_room(difference, BPF_ADJ_ROOM_MAC, u64::from(flags))
            .map_err(|_| Outcome::DropRewriteFailed)
    }

    /// Tells the Ethernet header that the packet is of another family now.
    #[inline(always)]
    fn store_ether_type<Now: Family, Before: Family>(&mut self) -> Result<(), Outcome> {
        if Now::PROTOCOL == Before::PROTOCOL {
            return Ok(());
        }
        self.store(ETHER_TYPE_OFFSET, Now::ETHER_TYPE).ok_or(Outcome::DropRewriteFailed)
    }

    /// Sends the packet to the next hop's neighbour; the kernel resolves its link-layer address, and
    /// queues the packet meanwhile.
    #[inline(always)]
    pub fn redirect_neighbour(via: &NextHop) -> i32 {
        let gateway = &via.gateway;
        let mut neighbour = if gateway.is_v4() {
            let ipv4_nh = gateway.v4_word();
            bpf_redir_neigh {
                nh_family: AF_INET,
                __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv4_nh },
            }
        } else {
            let ipv6_nh = gateway.words();
            bpf_redir_neigh {
                nh_family: AF_INET6,
                __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv6_nh },
            }
        };
        let size = size_of::<bpf_redir_neigh>() as i32;
        // SAFETY: the parameters live on the stack for the duration of the call and have this size.
        (unsafe { bpf_redirect_neigh(via.interface, &mut neighbour, size, 0) }) as i32
    }

    /// Hands the packet to the other end of the veth pair, past this end's queues.
    #[inline(always)]
    pub fn redirect_peer(pod: &NextHop) -> i32 {
        // SAFETY: the helper has no preconditions.
        (unsafe { bpf_redirect_peer(pod.interface, 0) }) as i32
    }

    /// Where the readable part of the packet starts. Read anew each time: kept in a register, the compiler
    /// would widen it to 64 bits again later, and the verifier would no longer take it for a packet's address.
    #[inline(always)]
    fn start(&self) -> usize {
        // SAFETY: the kernel hands a valid context to the program.
        (unsafe { ptr::read_volatile(&raw const (*self.raw).data) }) as usize
    }

    /// Where the readable part of the packet ends.
    #[inline(always)]
    fn end(&self) -> usize {
        // SAFETY: as above.
        (unsafe { ptr::read_volatile(&raw const (*self.raw).data_end) }) as usize
    }

    /// Where `T` lies at this offset, if the packet reaches so far.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.start() + (offset & 0x1fff);
        if start + size_of::<T>() > self.end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn reach(&mut self, end: usize) {
        // Offsets within headers are small: the bound is for the verifier.
        if self.start() + (end & 0x1fff) > self.end() && end as u32 <= self.frame_length() {
            let _ = self.ctx.pull_data(end as u32);
        }
    }

    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the bounds are checked, and T is plain bytes. The place may be at an odd address for T, which
        // the machines that run this (x86-64, arm64) and the verifier on them allow in packets; told that it
        // may be, the compiler would read byte by byte.
        self.at::<T>(offset).map(|at| unsafe { ptr::read(at) })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.frame_length()
    }

    #[inline(always)]
    fn segment_size(&self) -> u32 {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self.raw).gso_size }
    }
}

impl PacketMut for Skb<'_> {
    #[inline(always)]
    fn store<T: Copy>(&mut self, offset: usize, value: T) -> Option<()> {
        // SAFETY: the bounds are checked, and the verifier makes the packet writable for this program; of
        // odd addresses as above.
        self.at::<T>(offset).map(|at| unsafe { ptr::write(at, value) })
    }
}
