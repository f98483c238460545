//! Connections from pods of a1 to addresses that netfilter translates there, as kube-proxy's rules do for Services.

use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tests::{
    family::Family,
    lab::{Endpoint, Lab},
    probe::TcpFlow,
};

use crate::traffic::endpoint;

/// Directly, and through the tunnel.
const SERVICES: [(&str, &str); 2] = [("a1-0", "a2-0"), ("a1-1", "b1-0")];
const TIMEOUT: Duration = Duration::from_secs(10);

/// An address that stands for a pod's.
pub struct Service<'l> {
    from: &'l dyn Endpoint,
    to: &'l dyn Endpoint,
    address: IpAddr,
    cluster_ip: IpAddr,
}

/// The Services of a family, with the rules for them at a1. Connections that are there stay as they are.
pub fn services(lab: &Lab, family: Family) -> Result<Vec<Service<'_>>> {
    let mut services = Vec::new();
    for ((from, to), number) in SERVICES.into_iter().zip(50..) {
        let (from, to) = (endpoint(lab, from)?, endpoint(lab, to)?);
        let Some(address) = to.address_of(family) else { continue };
        let cluster_ip = match family {
            Family::V4 => IpAddr::from([10, 96, 0, number]),
            Family::V6 => IpAddr::from([0xfd00, 0x96, 0, 0, 0, 0, 0, u16::from(number)]),
        };
        services.push(Service { from, to, address, cluster_ip });
    }
    let name = if family == Family::V4 { "ip" } else { "ip6" };
    let rule = |Service { address, cluster_ip, .. }: &Service<'_>| {
        format!("{name} daddr {cluster_ip} dnat to {address}\n")
    };
    let rules: String = services.iter().map(rule).collect();
    let table = format!(
        "table {name} services\ndelete table {name} services\ntable {name} services {{ chain prerouting {{ \
         type nat hook prerouting priority dstnat\n{rules}}}\n}}"
    );
    lab.node("a1")?.netns().output("nft", &[&table])?;
    Ok(services)
}

impl Service<'_> {
    /// A connection that sends without a pause.
    pub fn flow(&self) -> Result<TcpFlow> {
        TcpFlow::start_through(self.from, self.to, self.address, self.cluster_ip)
    }

    /// A connection over which nothing goes until it is asked.
    pub fn quiet(&self) -> Result<Quiet> {
        let what = format!("silent TCP {} to {} ({})", self.from.name(), self.to.name(), self.cluster_ip);
        let at = SocketAddr::new(self.address, 0);
        let listener = self.to.netns().run(|| TcpListener::bind(at))?.with_context(|| what.clone())?;
        let at = SocketAddr::new(self.cluster_ip, listener.local_addr()?.port());
        let client = self.from.netns().run(|| TcpStream::connect_timeout(&at, TIMEOUT))?;
        let client = client.with_context(|| what.clone())?;
        let (server, _) = listener.accept().with_context(|| what.clone())?;
        client.set_read_timeout(Some(TIMEOUT))?;
        server.set_read_timeout(Some(TIMEOUT))?;
        Ok(Quiet { what, client, server })
    }
}

/// A connection over which nothing has gone. The programs know it only from packets that have been: no new one tells a
/// new program that netfilter translates it.
pub struct Quiet {
    what: String,
    client: TcpStream,
    server: TcpStream,
}

impl Quiet {
    /// Lets the server speak first: what netfilter does not translate back, the client resets.
    pub fn expect_alive(mut self) -> Result<()> {
        let what = || format!("{}: after what happened", self.what);
        let mut answer = [0; 4];
        self.server.write_all(b"ping").with_context(what)?;
        self.client.read_exact(&mut answer).with_context(what)?;
        self.client.write_all(&answer).with_context(what)?;
        self.server.read_exact(&mut answer).with_context(what)?;
        ensure!(&answer == b"ping", "{}: {answer:?} came back", self.what);
        Ok(())
    }
}
