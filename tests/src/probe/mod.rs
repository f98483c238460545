//! Probes: packets from one endpoint to another, and what came back.

mod echo;
mod icmp;
mod iperf;
mod ping;
mod series;
mod tracepath;

pub use echo::{ECHO_PORT, EchoServer, Seen, tcp, tcp_at, udp, udp_at};
pub use iperf::{Throughput, throughput};
pub use ping::{Answer, Fragmentation, Ping, traceroute};
pub use series::{Series, SeriesReport};
pub use tracepath::{PathTrace, tracepath};
