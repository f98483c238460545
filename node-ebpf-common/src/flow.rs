/// One transport flow as it crosses this node's programs: key of the maps of translated flows.
/// `A` is the address: 4 or 16 bytes in network byte order,
/// held in words as they are in memory.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flow<A> {
    /// Address of this node's pod; where both are, of the one that sends.
    pub local: A,
    /// Address of the other end.
    pub remote: A,
    /// Port of the local end, in network byte order as it is in memory. 0 for fragments and for protocols without ports.
    pub local_port: u16,
    /// Port of the other end.
    pub remote_port: u16,
    /// IANA protocol number.
    pub protocol: u32,
}

impl<A: Copy> Flow<A> {
    /// The flow of which only addresses and protocol are known: that of fragments.
    #[inline(always)]
    #[must_use]
    pub const fn without_ports(&self) -> Self {
        Self { local_port: 0, remote_port: 0, ..*self }
    }

    /// The same flow seen from its other end.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(&self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            local_port: self.remote_port,
            remote_port: self.local_port,
            protocol: self.protocol,
        }
    }
}
