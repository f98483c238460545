//! Packets, built and taken apart by a library that is not ours.

use etherparse::{IpDscp, IpEcn, IpFragOffset, IpNumber, Ipv4Header, PacketBuilder};

/// An Ethernet frame to the loopback's own address with an IPv4 header.
#[derive(Clone)]
pub struct Frame {
    /// The header; lengths and checksum are filled in by [`Frame::bytes`].
    pub ip: Ipv4Header,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A UDP packet with this many bytes of payload.
    pub fn udp(source: [u8; 4], destination: [u8; 4], length: usize) -> Self {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(source, destination, 64)
            .udp(4_000, 53)
            .write(&mut bytes, &vec![0xa5; length])
            .expect("a packet");
        let (ip, rest) = Ipv4Header::from_slice(&bytes).expect("an IPv4 header");
        Self { ip, payload: rest.to_vec() }
    }

    /// A TCP packet with this many bytes of payload.
    pub fn tcp(source: [u8; 4], destination: [u8; 4], length: usize) -> Self {
        let mut bytes = Vec::new();
        PacketBuilder::ipv4(source, destination, 64)
            .tcp(4_000, 80, 1, 64_000)
            .write(&mut bytes, &vec![0x5a; length])
            .expect("a packet");
        let (ip, rest) = Ipv4Header::from_slice(&bytes).expect("an IPv4 header");
        Self { ip, payload: rest.to_vec() }
    }

    /// The whole packet of another frame inside an IPIP packet.
    pub fn ipip(source: [u8; 4], destination: [u8; 4], inner: &Self) -> Self {
        let payload = inner.packet();
        let length = u16::try_from(payload.len()).expect("a length");
        let ip = Ipv4Header::new(length, 64, IpNumber::IPV4, source, destination).expect("a header");
        Self { ip, payload }
    }

    /// Changes the header.
    pub fn with(mut self, change: impl FnOnce(&mut Ipv4Header)) -> Self {
        change(&mut self.ip);
        self
    }

    /// Sets DSCP and ECN.
    pub fn traffic_class(self, dscp: u8, ecn: u8) -> Self {
        self.with(|ip| {
            ip.dscp = IpDscp::try_new(dscp).expect("6 bits");
            ip.ecn = IpEcn::try_new(ecn).expect("2 bits");
        })
    }

    /// Makes it a fragment.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        self.with(|ip| {
            ip.fragment_offset = IpFragOffset::try_new(offset).expect("13 bits");
            ip.more_fragments = more;
            ip.dont_fragment = false;
        })
    }

    /// The IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let mut ip = self.ip.clone();
        ip.set_payload_len(self.payload.len()).expect("a length");
        let mut bytes = Vec::new();
        ip.write(&mut bytes).expect("a header");
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// The frame.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; 12];
        bytes.extend_from_slice(&[0x08, 0x00]);
        bytes.extend_from_slice(&self.packet());
        bytes
    }
}

/// Takes a frame apart; panics where the header's checksum is wrong.
pub fn parse(frame: &[u8]) -> (Ipv4Header, Vec<u8>) {
    let (ip, rest) = Ipv4Header::from_slice(&frame[14..]).expect("an IPv4 header");
    assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "header checksum: {ip:?}");
    (ip, rest.to_vec())
}
