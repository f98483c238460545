//! The kernel's packet: context fields, direct access to its bytes, and the helpers that move it.

use core::ptr;

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_FIXED_GSO,
        bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    },
    helpers::generated::{bpf_get_prandom_u32, bpf_redirect_neigh, bpf_redirect_peer},
    programs::TcContext,
};
use node_ebpf::{ETHERNET_LENGTH, Outcome, Packet, PacketMut, rewrite::OUTER_LENGTH};
use node_ebpf_common::NextHop;

const AF_INET: u32 = 2;
/// `PACKET_HOST`: the frame was sent to this host's own link-layer address.
const PACKET_HOST: u32 = 0;
/// `ETH_P_IP` as `skb->protocol` holds it.
const PROTOCOL_IPV4: u32 = (0x0800_u16).to_be() as u32;
/// What has to be readable for a decision: Ethernet, an IPv4 header with all options, and another one or
/// a TCP header behind it.
const HEADERS: u32 = 14 + 60 + 20;

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

    /// Length of the frame in bytes.
    #[inline(always)]
    pub fn frame_length(&self) -> u32 {
        self.ctx.len()
    }

    /// Whether it is an IPv4 packet whose frame was sent to this host.
    #[inline(always)]
    pub fn is_unicast_ipv4(&self) -> bool {
        // SAFETY: the kernel hands a valid context to the program.
        unsafe { (*self.raw).protocol == PROTOCOL_IPV4 && (*self.raw).pkt_type == PACKET_HOST }
    }

    /// Whether it is an IPv4 packet.
    #[inline(always)]
    pub fn is_ipv4(&self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.raw).protocol == PROTOCOL_IPV4 }
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

    /// Makes the headers readable if they are not in the packet's linear part yet.
    #[inline(always)]
    pub fn pull_headers(&mut self) {
        // A packet may be shorter than this; what is missing then shows when it is read.
        let wanted = HEADERS.min(self.frame_length());
        if self.ctx.data() + wanted as usize > self.ctx.data_end() {
            let _ = self.ctx.pull_data(wanted);
        }
    }

    /// Adds an outer IPv4 header. The kernel learns that this is a tunnel, so that segmentation and
    /// checksum offload treat the inner packet rightly; its segments keep their size, which the decision
    /// has checked.
    #[inline(always)]
    pub fn encapsulate(&mut self, outer: [u8; OUTER_LENGTH]) -> Result<(), Outcome> {
        let flags = BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4;
        self.ctx
            .adjust_room(OUTER_LENGTH as i32, BPF_ADJ_ROOM_MAC, u64::from(flags))
            .map_err(|_| Outcome::DropRewriteFailed)?;
        self.store(ETHERNET_LENGTH, outer).ok_or(Outcome::DropRewriteFailed)
    }

    /// Removes an outer IPv4 header of this length. IPv4 in IPv4 needs no `DECAP_L3` flag, which kernels
    /// before 6.3 do not know: it only tells the kernel of another protocol.
    #[inline(always)]
    pub fn decapsulate(&mut self, outer: usize) -> Result<(), Outcome> {
        self.ctx
            .adjust_room(-(outer as i32), BPF_ADJ_ROOM_MAC, u64::from(BPF_F_ADJ_ROOM_FIXED_GSO))
            .map_err(|_| Outcome::DropRewriteFailed)
    }

    /// A number for the identification field of an outer header.
    #[inline(always)]
    pub fn identification() -> u16 {
        // SAFETY: the helper has no preconditions.
        (unsafe { bpf_get_prandom_u32() }) as u16
    }

    /// Sends the packet to the next hop's neighbour; the kernel resolves its link-layer address, and
    /// queues the packet meanwhile.
    #[inline(always)]
    pub fn redirect_neighbour(via: &NextHop) -> i32 {
        let mut neighbour = bpf_redir_neigh {
            nh_family: AF_INET,
            __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
                ipv4_nh: u32::from_ne_bytes(via.gateway.v4_bytes()),
            },
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

    /// Where `T` lies at this offset, if the packet reaches so far.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> Option<*mut T> {
        let start = self.ctx.data() + offset;
        if start + size_of::<T>() > self.ctx.data_end() {
            return None;
        }
        Some(start as *mut T)
    }
}

impl Packet for Skb<'_> {
    #[inline(always)]
    fn load<T: Copy>(&self, offset: usize) -> Option<T> {
        // SAFETY: the bounds are checked, and T is plain bytes.
        self.at::<T>(offset).map(|at| unsafe { ptr::read_unaligned(at) })
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
        // SAFETY: the bounds are checked, and the verifier makes the packet writable for this program.
        self.at::<T>(offset).map(|at| unsafe { ptr::write_unaligned(at, value) })
    }
}
