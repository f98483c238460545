use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::model::{PodName, Prefix};

/// Which packets a client wants to see. A packet must pass every field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct TraceRequest {
    /// Packets to and from this pod.
    pub pod: Option<PodName>,
    /// Packets with this address at an end, or at an end of the outer header.
    pub ip: Option<IpAddr>,
    /// Packets that end in one of these outcomes; empty: in any.
    pub outcomes: Vec<String>,
    /// Packets at one of these hooks; empty: at any.
    pub hooks: Vec<String>,
    /// One packet in so many, on each CPU.
    pub sample: u32,
    /// Most packets in a second on each CPU.
    pub rate: u32,
    /// Most bytes of each packet.
    pub snaplen: u32,
}

/// A line of a trace, after the first one, which is the response to the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceLine {
    /// A packet.
    Packet(Box<TraceRow>),
    /// There are no more.
    End(TraceEnd),
}

/// A packet and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TraceRow {
    /// When the program ended with it, in UTC (RFC 3339, nanoseconds).
    pub time: String,
    /// Where.
    pub hook: String,
    /// The CPU.
    pub cpu: u32,
    /// The interface that it came in by; none if the host sends it.
    pub in_interface: Option<String>,
    /// The pod behind that interface.
    pub in_pod: Option<String>,
    /// Its source, of the innermost packet; none if it is no IP packet.
    pub source: Option<IpAddr>,
    /// Source port.
    pub source_port: Option<u16>,
    /// Whose source address it is: `pod default/web-0`, `node b1`.
    pub source_name: Option<String>,
    /// Its destination.
    pub destination: Option<IpAddr>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Whose destination address it is.
    pub destination_name: Option<String>,
    /// Protocol, by name if it is a common one.
    pub protocol: Option<String>,
    /// Bytes of the frame as it came in.
    pub bytes: u32,
    /// The longest prefix that contains the destination; none: the host's stack decides.
    pub prefix: Option<Prefix>,
    /// Where that leads, as in `routes`.
    pub next_hop: Option<String>,
    /// Number of the next-hop object in the map.
    pub next_hop_index: Option<u32>,
    /// The neighbour on the way there.
    pub gateway: Option<IpAddr>,
    /// What became of the packet.
    pub outcome: String,
    /// `forwarded`, `stack` or `dropped`.
    pub ending: String,
    /// Source of the outer header that was put on, taken off, or is there.
    pub outer_source: Option<IpAddr>,
    /// Destination of the outer header.
    pub outer_destination: Option<IpAddr>,
    /// The interface that the program sends it to, or that the host sends it by.
    pub out_interface: Option<String>,
    /// The pod behind that interface.
    pub out_pod: Option<String>,
    /// Bytes of the frame when the program ended.
    pub final_bytes: u32,
    /// The first bytes of the frame when the program ended, in hexadecimal.
    pub packet: String,
}

/// What a client has not seen of the packets that it wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TraceEnd {
    /// Left out because of the rate.
    pub limited: u64,
    /// Lost because the programs' buffer was full.
    pub lost: u64,
    /// Lost because the client was slow to take them.
    pub missed: u64,
}
