//! Probes: packets from one endpoint to another, and what came back.

mod arrivals;
mod bulk;
mod datagram;
mod echo;
mod icmp;
mod iperf;
mod ping;
mod rate;
mod series;
mod tcp_flow;
pub(crate) mod tcp_info;
mod tracepath;
mod traceroute;
mod udp_flow;
mod udp_gso;

pub use arrivals::Arrivals;
pub use bulk::{Bulk, bulk, bulk_by, without_storm};
pub use datagram::datagram;
pub use echo::{ECHO_PORT, EchoServer, Seen, tcp, tcp_at, udp, udp_at, udp_within};
pub use iperf::{Throughput, throughput};
pub use ping::{Answer, Fragmentation, Ping, traceroute};
pub use rate::rate;
pub use series::{Series, SeriesReport};
pub use tcp_flow::{TcpFlow, TcpReport};
pub use tracepath::{PathTrace, tracepath};
pub use traceroute::traceroute_by_udp;
pub use udp_flow::{UdpFlow, UdpReport};
pub use udp_gso::{Receiver, udp_segments};
