//! Segmentation, merging and checksums, left to interfaces or not, in every encapsulation of both families: what is
//! sent arrives, with right checksums, and hardly anything is sent again.

use anyhow::{Context, Result, ensure};
use tests::{
    Failure,
    agent::Settings,
    capture::{Capture, Captured, Checksum, Keep, Packet},
    family::Family,
    lab::{Endpoint, Lab, Node, Pod, Topology, View},
    offload::{self, Feature},
    probe::{self, Ping, Receiver},
    state::{Encapsulation, State},
    story,
    way::{self, Way},
};

const MODE: Encapsulation = Encapsulation::CrossSubnet;
/// Of one TCP transfer.
const BYTES: usize = 2 << 20;
/// Of UDP in one call: datagrams, and bytes of each.
const DATAGRAMS: (usize, usize) = (20, 1200);

/// An interface on the way, in the direction in which the data goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FromInside,
    FromVeth,
    FromUplink,
    /// The switch's port to the receiver's node. A veth merges only what comes from an end that does not segment.
    Switch,
    ToUplink,
    ToVeth,
    ToInside,
}

use Place::{FromInside, FromUplink, FromVeth, Switch, ToInside, ToUplink, ToVeth};

const FROM: &[Place] = &[FromInside, FromVeth, FromUplink];
const TO: &[Place] = &[ToUplink, ToVeth, ToInside];
const ALL: &[Place] = &[FromInside, FromVeth, FromUplink, Switch, ToUplink, ToVeth, ToInside];

/// Which features are as they are not in a new lab, and what has to be seen then.
#[derive(Debug)]
struct Case {
    name: &'static str,
    /// Places where segmentation is the kernel's.
    no_segmentation: &'static [Place],
    /// Places where checksums are the kernel's.
    no_checksums: &'static [Place],
    /// Places where what comes in is merged.
    merging: &'static [Place],
    /// Super-packets leave the sender's uplink.
    super_at_uplink: bool,
    /// Super-packets arrive in the receiving pod.
    super_at_pod: bool,
}

const CASES: &[Case] = &[
    Case {
        name: "everything on",
        no_segmentation: &[],
        no_checksums: &[],
        merging: ALL,
        super_at_uplink: true,
        super_at_pod: true,
    },
    Case {
        name: "no merging at the receiver",
        no_segmentation: &[],
        no_checksums: &[],
        merging: FROM,
        super_at_uplink: true,
        super_at_pod: true,
    },
    Case {
        name: "no segmentation at the sender, no merging at the receiver",
        no_segmentation: FROM,
        no_checksums: &[],
        merging: &[],
        super_at_uplink: false,
        super_at_pod: false,
    },
    Case {
        name: "no segmentation at the sender, merging at the receiver",
        no_segmentation: &[FromInside, FromVeth, FromUplink, Switch],
        no_checksums: &[],
        merging: TO,
        super_at_uplink: false,
        super_at_pod: true,
    },
    Case {
        name: "super-packets cut at the uplink, not merged again",
        no_segmentation: &[FromUplink],
        no_checksums: &[],
        merging: &[],
        super_at_uplink: false,
        super_at_pod: false,
    },
    Case {
        name: "super-packets cut at the uplink and merged again",
        no_segmentation: &[FromUplink, Switch],
        no_checksums: &[],
        merging: ALL,
        super_at_uplink: false,
        super_at_pod: true,
    },
    Case {
        name: "super-packets cut on the way and merged again",
        no_segmentation: &[Switch],
        no_checksums: &[],
        merging: TO,
        super_at_uplink: true,
        super_at_pod: true,
    },
    Case {
        name: "no checksum offload in the pod",
        no_segmentation: &[],
        no_checksums: &[FromInside],
        merging: &[],
        super_at_uplink: false,
        super_at_pod: false,
    },
    Case {
        name: "no checksum offload at the uplink",
        no_segmentation: &[],
        no_checksums: &[FromUplink],
        merging: &[],
        super_at_uplink: false,
        super_at_pod: false,
    },
    Case {
        name: "no checksum offload at the sender, merging at the receiver",
        no_segmentation: &[Switch],
        no_checksums: FROM,
        merging: TO,
        super_at_uplink: false,
        super_at_pod: true,
    },
];

/// Where data goes from one pod to another.
struct Path<'l> {
    lab: &'l Lab,
    from: &'l Pod,
    to_pod: &'l Pod,
    to: View<'l>,
    way: Way,
}

impl<'l> Path<'l> {
    fn new(lab: &'l Lab, from: &str, to: &str, family: Family) -> Result<Self> {
        let (from, to_pod) = (lab.pod(from)?, lab.pod(to)?);
        let to = View::new(to_pod, family).context("it has no such address")?;
        let way = way::demanded(lab, MODE, from, &to)?.context("nothing is refused")?;
        Ping::to(to.address())?.expect_reply(from)?;
        Ok(Self { lab, from, to_pod, to, way })
    }

    fn set(&self, place: Place, feature: Feature, on: bool) -> Result<()> {
        let (from, to) = (self.lab.node(self.from.node())?, self.lab.node(self.to_pod.node())?);
        match place {
            FromInside => offload::set(self.from.netns(), Pod::INSIDE, feature, on),
            FromVeth => offload::set(from.netns(), self.from.interface(), feature, on),
            FromUplink => offload::set(from.netns(), Node::UPLINK, feature, on),
            Switch => offload::set(self.lab.switch(), to.name(), feature, on),
            ToUplink => offload::set(to.netns(), Node::UPLINK, feature, on),
            ToVeth => offload::set(to.netns(), self.to_pod.interface(), feature, on),
            ToInside => offload::set(self.to_pod.netns(), Pod::INSIDE, feature, on),
        }
    }

    /// Sets what the case asks for, or (`false`) what a new lab has.
    fn prepare(&self, case: &Case, begin: bool) -> Result<()> {
        let steps = [
            (case.no_checksums, Feature::Checksums, !begin),
            (case.no_segmentation, Feature::Segmentation, !begin),
            (case.merging, Feature::Merging, begin),
        ];
        for (places, feature, on) in steps {
            places.iter().try_for_each(|place| self.set(*place, feature, on))?;
        }
        Ok(())
    }
}

#[test]
fn streams_and_datagrams_arrive_whatever_interfaces_take_over() -> Result<(), Failure> {
    for (topology, paths) in [
        (
            Topology::dual_stack(),
            &[("a2-0", Family::V4), ("a2-0", Family::V6), ("b1-0", Family::V4), ("b1-0", Family::V6)][..],
        ),
        // IPv4 in IPv6, and with an IPv6 gateway.
        (Topology::v6_nodes(), &[("a2-0", Family::V4), ("b1-0", Family::V4)]),
        // IPv6 in IPv4.
        (Topology::v4_nodes(), &[("b1-0", Family::V6)]),
    ] {
        let name = topology.name;
        story(topology, |lab, agents| {
            agents.start(lab, &Settings::default(), &State::of(lab, MODE))?;
            for (to, family) in paths {
                let path = Path::new(lab, "a1-0", to, *family)?;
                for case in CASES {
                    path.prepare(case, true)?;
                    arrives(&path, case).with_context(|| format!("{name}, {family}, {}", case.name))?;
                    path.prepare(case, false)?;
                }
            }
            for (node, agent) in agents.iter() {
                let counters = agent.counters()?;
                ensure!(counters.dropped() == 0, "{node} has dropped packets:\n{counters}");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn arrives(path: &Path<'_>, case: &Case) -> Result<()> {
    let (uplink, inside) = stream(path)?;
    let encapsulated = path.way == Way::Ipip;
    let sent = data(&uplink, path);
    ensure!(!sent.is_empty(), "nothing is sent: {uplink}");
    ensure!(sent.iter().all(|packet| packet.is_encapsulated() == encapsulated), "{uplink}");
    checksums(&sent, !case.no_checksums.is_empty()).with_context(|| uplink.to_string())?;
    ensure!(has_super(&sent) == case.super_at_uplink, "{uplink}");
    let received = data(&inside, path);
    ensure!(received.iter().all(|packet| !packet.is_encapsulated()), "{inside}");
    checksums(&received, false).with_context(|| inside.to_string())?;
    ensure!(has_super(&received) == case.super_at_pod, "{inside}");
    for receiver in [Receiver::Single, Receiver::Together] {
        probe::udp_segments(path.from, &path.to, DATAGRAMS, receiver)?;
    }
    Ok(())
}

/// A stream, as it leaves the sender's uplink and as it arrives.
fn stream(path: &Path<'_>) -> Result<(Captured, Captured)> {
    let mut captured = None;
    probe::without_storm(|| {
        let uplink = Capture::start(path.lab.node(path.from.node())?.netns(), Node::UPLINK, Keep::Whole)?;
        let inside = Capture::start(path.to_pod.netns(), Pod::INSIDE, Keep::Whole)?;
        let bulk = probe::bulk(path.from, &path.to, BYTES)?;
        captured = Some((uplink.stop()?, inside.stop()?));
        Ok(bulk)
    })?;
    captured.context("nothing was sent")
}

/// The packets of the stream, in its direction.
fn data(captured: &Captured, path: &Path<'_>) -> Vec<Packet> {
    captured.packets().filter(|packet| packet.inner().destination == path.to.address()).collect()
}

/// Whether there are packets larger than the link.
fn has_super(packets: &[Packet]) -> bool {
    packets.iter().any(|packet| packet.length > usize::from(Topology::UPLINK_MTU))
}

/// All are right, or, where interfaces may do it, begun.
fn checksums(packets: &[Packet], complete: bool) -> Result<()> {
    for packet in packets {
        let right = match packet.checksum() {
            Some(Checksum::Right) => true,
            Some(Checksum::Begun) => !complete,
            _ => false,
        };
        ensure!(right, "checksum {:?}: {:?}, {:?}", packet.checksum(), packet.headers, packet.length);
    }
    Ok(())
}
