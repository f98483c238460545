//! Several ways to one place: which of them a flow takes.

use std::{collections::BTreeMap, net::IpAddr};

use node_ebpf_common::{Hook, MARK_FORWARDED, NextHopGroup, Outcome};
use tests::program::cases::frame;

use crate::rig::*;

/// Next hops that packets can be told apart by: tunnels with different ends.
const MEMBERS: [u32; 2] = [13, 14];
const MEMBERS_V6: [u32; 2] = [16, 17];

/// Sixteen flows for each bucket, from ports of their own.
const FLOWS: u16 = 256;

struct Ends {
    from: IpAddr,
    to: IpAddr,
    group: u32,
    members: [u32; 2],
    tunnels: [IpAddr; 2],
}

fn both() -> [Ends; 2] {
    [
        Ends {
            from: POD.into(),
            to: POD_SEVERAL_WAYS.into(),
            group: GROUP,
            members: MEMBERS,
            tunnels: WAYS.map(IpAddr::from),
        },
        Ends {
            from: POD_V6.into(),
            to: POD_SEVERAL_WAYS_V6.into(),
            group: GROUP_V6,
            members: MEMBERS_V6,
            tunnels: WAYS_V6.map(IpAddr::from),
        },
    ]
}

impl Ends {
    fn packet(&self, port: u16) -> Vec<u8> {
        let mut packet = tests::program::cases::udp(self.from, self.to, 64, 22);
        let ports = if self.from.is_ipv4() { 20 } else { 40 };
        packet[ports..ports + 2].copy_from_slice(&port.to_be_bytes());
        frame(&packet)
    }

    /// The tunnel's end that a flow goes to.
    fn way(&self, rig: &mut Rig, hook: Hook, port: u16) -> IpAddr {
        let run = rig.run(hook, &self.packet(port));
        assert_eq!((run.outcome, run.verdict), (Outcome::Ipip, TC_ACT_REDIRECT), "{}", hook.label());
        assert_eq!(run.mark & MARK_FORWARDED, MARK_FORWARDED, "it is not looked at again");
        match self.from {
            IpAddr::V4(_) => IpAddr::from(<[u8; 4]>::try_from(&run.data[30..34]).expect("four")),
            IpAddr::V6(_) => IpAddr::from(<[u8; 16]>::try_from(&run.data[38..54]).expect("sixteen")),
        }
    }

    fn set(&self, rig: &mut Rig, of_bucket: impl Fn(usize) -> u32) {
        rig.set_group(self.group, NextHopGroup { identity: 1, buckets: std::array::from_fn(of_bucket) });
    }
}

/// A pod's packets and those that the stack has routed by another way go the same way.
#[test]
fn a_flow_keeps_its_way_and_flows_share_the_ways_evenly() {
    for ends in both() {
        let mut rig = Rig::new();
        ends.set(&mut rig, |bucket| ends.members[bucket % 2]);
        let mut shares = BTreeMap::<IpAddr, u16>::new();
        for port in 1..=FLOWS {
            let way = ends.way(&mut rig, Hook::FromPod, port);
            assert_eq!(ends.way(&mut rig, Hook::FromPod, port), way, "port {port}");
            assert_eq!(ends.way(&mut rig, Hook::ToUplink, port), way, "port {port} from the stack");
            *shares.entry(way).or_default() += 1;
        }
        assert_eq!(shares.keys().copied().collect::<Vec<_>>(), ends.tunnels);
        // 256 flows: further off than this once in ten million choices.
        assert!(shares.values().all(|share| share.abs_diff(FLOWS / 2) < 45), "{shares:?}");
    }
}

/// Where a way goes, only its flows move.
#[test]
fn flows_of_other_buckets_stay_where_they_are() {
    for ends in both() {
        let mut rig = Rig::new();
        ends.set(&mut rig, |bucket| ends.members[bucket % 2]);
        let before: Vec<IpAddr> = (1..=FLOWS).map(|port| ends.way(&mut rig, Hook::FromPod, port)).collect();
        ends.set(&mut rig, |bucket| ends.members[if bucket < 4 { 1 } else { bucket % 2 }]);
        let mut moved = 0;
        for (port, before) in (1..=FLOWS).zip(before) {
            let now = ends.way(&mut rig, Hook::FromPod, port);
            assert!(now == before || now == ends.tunnels[1], "port {port}");
            moved += u16::from(now != before);
        }
        // Two buckets of sixteen.
        assert!((1..FLOWS / 4).contains(&moved), "{moved}");
    }
}

/// The moment between a member's end and the group's next version.
#[test]
fn where_a_member_or_the_group_is_not_there_the_owner_is_the_way() {
    for ends in both() {
        let mut rig = Rig::new();
        for member in [0, 99, u32::MAX] {
            ends.set(&mut rig, |_| member);
            for port in 1..20 {
                assert_eq!(ends.way(&mut rig, Hook::FromPod, port), ends.tunnels[0], "{member}");
            }
        }
    }
}
