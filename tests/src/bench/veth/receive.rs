//! The receiving node alone: what it does with what came in from the other one.
//!
//! The frames are those that the sending node puts on the wire, captured there and sent again, as a network card hands
//! them over. Then the receiving uplink takes frames as a card's driver does (NAPI, GRO), which a veth else does not.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{
    bpf::Attached,
    frames::{self, Flows, Route},
    live::LiveSender,
    programs,
    site::{FROM, Site, TO},
    way::Way,
    window::{Times, Window},
};
use crate::{
    capture::{Capture, Keep},
    lab::{Endpoint, Node},
    wait,
};

/// The receiving node of a site, and what it receives.
pub struct Receiver<'s> {
    /// The site.
    pub site: &'s Site,
    sender: LiveSender,
    _sink: Option<Attached>,
}

/// How long the frames may take to arrive.
const PATIENCE: Duration = Duration::from_secs(3);

impl<'s> Receiver<'s> {
    /// Prepares a site. From now on its receiving uplink takes frames in another way than before.
    ///
    /// # Errors
    /// What is on the wire cannot be captured, or does not arrive when it is sent again.
    pub fn of(site: &'s Site) -> Result<Self> {
        prepare(site).with_context(|| format!("the receiving node of {}", site.way.name()))
    }

    /// Measures.
    ///
    /// # Errors
    /// Sending fails.
    pub fn measure(&self, times: Times, flows: Flows) -> Result<Window> {
        self.sender.measure(times, flows, &self.site.arrived)
    }
}

fn prepare(site: &Site) -> Result<Receiver<'_>> {
    let [near, far] = [site.lab.node("a1")?.netns(), site.lab.node("a2")?.netns()];
    let (frame, sink) = if site.way == Way::Generator {
        let sink = programs::frame_sink(&site.arrived)?.attach(far, Node::UPLINK)?;
        (unsent(site)?, Some(sink))
    } else {
        let frame = on_the_wire(site)?;
        far.output("ethtool", &["-K", Node::UPLINK, "gro", "on"])?;
        (frame, None)
    };
    let (frame, ports) = with_free_ports(frame)?;
    let sender = LiveSender::open(near, Node::UPLINK, frame, &ports)?;
    let before = site.arrived.read()?;
    let sent = sender.send_once(Flows::Many)?;
    wait::until(&format!("{sent} frames"), PATIENCE, || Ok(site.arrived.read()? - before >= sent))?;
    Ok(Receiver { site, sender, _sink: sink })
}

/// A frame as it would be on the wire without encapsulation.
fn unsent(site: &Site) -> Result<Vec<u8>> {
    let [near, far] = [site.lab.node("a1")?.netns(), site.lab.node("a2")?.netns()];
    let no_address = "the pods have IPv4";
    let addresses =
        [site.lab.pod(FROM)?.v4().context(no_address)?, site.lab.pod(TO)?.v4().context(no_address)?];
    let route = Route { macs: [near.mac(Node::UPLINK)?, far.mac(Node::UPLINK)?], addresses };
    Ok(frames::frame(&route, 0)?.to_vec())
}

/// A frame of the first flow as it leaves the sending node. (At the other one, XDP comes before any capture.)
fn on_the_wire(site: &Site) -> Result<Vec<u8>> {
    let capture = Capture::start(site.lab.node("a1")?.netns(), Node::UPLINK, Keep::Whole)?;
    let before = site.arrived.read()?;
    let sent = site.send_once(Flows::One)?;
    wait::until("a packet", PATIENCE, || Ok(site.arrived.read()? - before >= sent))?;
    let captured = capture.stop()?;
    let payload = &site.frames(Flows::One)[0][frames::SOURCE_PORT..];
    let carries = |bytes: &&[u8]| bytes.ends_with(payload);
    let frame =
        captured.frames().iter().filter(|frame| frame.outgoing).map(|frame| &frame.bytes[..]).find(carries);
    Ok(frame.with_context(|| format!("the packet is not on the wire: {captured}"))?.to_vec())
}

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const VXLAN: usize = 8;
const VXLAN_PORT: [u8; 2] = 8472_u16.to_be_bytes();

/// The frame such that its ports may be changed, and where the source ports are that tell flows apart: of the packet,
/// and of VXLAN, which makes its own from the packet's. Checksums over them are left out, as IPv4 allows.
fn with_free_ports(mut frame: Vec<u8>) -> Result<(Vec<u8>, Vec<usize>)> {
    ensure!(frame.get(12..15) == Some(&[8, 0, 0x45]), "not IPv4 without options: {frame:02x?}");
    let at = ETHERNET + IP;
    let ports = match frame.get(ETHERNET + 9) {
        Some(4) => vec![at + IP],
        Some(17) if frame.get(at + 2..at + 4) == Some(&VXLAN_PORT) => {
            frame.get_mut(at + 6..at + 8).context("a header is cut short")?.fill(0);
            vec![at, at + UDP + VXLAN + ETHERNET + IP]
        }
        Some(17) => vec![at],
        other => anyhow::bail!("protocol {other:?} is no way that is known here"),
    };
    ensure!(ports.iter().all(|port| port + UDP <= frame.len()), "a header is cut short: {frame:02x?}");
    Ok((frame, ports))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route() -> Route {
        let addresses = ["10.244.1.10", "10.244.2.10"].map(|text| text.parse().unwrap());
        Route { macs: [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]], addresses }
    }

    #[test]
    fn source_ports_are_found_behind_every_outer_header() {
        let plain = frames::frame(&route(), 5).unwrap().to_vec();
        let port = (frames::FIRST_PORT + 5).to_be_bytes();
        let ip = |protocol: u8| {
            let mut header = plain[..ETHERNET + IP].to_vec();
            header[ETHERNET + 9] = protocol;
            header
        };
        let ipip = [&ip(4), &plain[ETHERNET..]].concat();
        let udp = [&port[..], &VXLAN_PORT, &[0, 58, 0xab, 0xcd]].concat();
        let vxlan = [&ip(17)[..], &udp, &[8, 0, 0, 0, 0, 0, 1, 0], &plain].concat();
        for (frame, expected) in [(&plain, vec![34]), (&ipip, vec![54]), (&vxlan, vec![34, 84])] {
            let (freed, ports) = with_free_ports(frame.clone()).unwrap();
            assert_eq!(ports, expected);
            assert!(ports.iter().all(|at| freed[*at..*at + 2] == port));
        }
        let (freed, _) = with_free_ports(vxlan.clone()).unwrap();
        assert_eq!((&vxlan[40..42], &freed[40..42]), (&[0xab, 0xcd][..], &[0, 0][..]));
        for wrong in [&ip(6), &ipip[..60].to_vec(), &Vec::new()] {
            assert!(with_free_ports(wrong.clone()).is_err());
        }
    }
}
