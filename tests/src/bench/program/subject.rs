//! What is measured: a program of the datapath on one packet, or on one after the other for many destinations.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use aya::programs::ProgramFd;
use node_ebpf_common::{Hook, Outcome};

use super::{
    repeat::{Kind, Repeated, Repeater},
    start::{Room, Start, readdressed},
};
use crate::program::rig::{Rig, Run};

/// A program on a packet.
pub struct Subject {
    /// For people.
    pub name: String,
    hook: Hook,
    outcome: Outcome,
    program: ProgramFd,
    frame: Vec<u8>,
    destinations: Vec<IpAddr>,
    first_target: u32,
    room: Option<Room>,
}

/// Nanoseconds of one round, above a program that returns at once.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Of the program.
    pub program: f64,
    /// Of one that only changes the room for headers as the program does, if it does.
    pub room: Option<f64>,
}

impl Subject {
    /// This packet at this program, which must end like that. Finds it out by one run.
    ///
    /// # Errors
    /// It ends in another way.
    pub fn new(rig: &mut Rig, hook: Hook, outcome: Outcome, families: &str, frame: &[u8]) -> Result<Self> {
        let run = run(rig, hook, frame);
        let name = format!("{} {} {families}", hook.label(), outcome.label());
        ensure!(run.outcome == outcome, "{name}: it ends as {}", run.outcome.label());
        Ok(Self {
            name,
            hook,
            outcome,
            program: match hook {
                Hook::Xdp => rig.xdp().fd()?.try_clone()?,
                _ => rig.program(hook).fd()?.try_clone()?,
            },
            frame: frame.to_vec(),
            destinations: Vec::new(),
            first_target: 0,
            room: room(hook, frame, &run.data),
        })
    }

    /// The same, for these destinations in turn.
    ///
    /// # Errors
    /// There is no room for so many.
    pub fn to(self, destinations: Vec<IpAddr>, repeater: &mut Repeater) -> Result<Self> {
        let first_target = repeater.add_targets(&self.frame, &destinations)?;
        Ok(Self { destinations, first_target, ..self })
    }

    /// The program.
    #[must_use]
    pub fn kind(&self) -> Kind {
        if self.hook == Hook::Xdp { Kind::Frame } else { Kind::Skb }
    }

    /// Measures it so many times, and what it is compared with.
    ///
    /// # Errors
    /// A repetition did not end as it must.
    pub fn measure(&self, rig: &mut Rig, repeater: &mut Repeater, repeat: u32) -> Result<Sample> {
        self.try_measure(rig, repeater, repeat).with_context(|| self.name.clone())
    }

    fn try_measure(&self, rig: &mut Rig, repeater: &mut Repeater, repeat: u32) -> Result<Sample> {
        let kind = self.kind();
        let count = u32::try_from(self.destinations.len())?;
        let room = self.room.unwrap_or_default();
        let start = Start { frame: &self.frame, targets: (self.first_target, count), room };
        let before = rig.counter(self.hook, self.outcome).packets;
        let repeated = repeater.repeat(kind, &self.program, &start, repeat)?;
        let counted = rig.counter(self.hook, self.outcome).packets - before;
        ensure!(counted == u64::from(repeat), "{counted} of {repeat} repetitions ended as they must");
        self.check(rig, &repeated, repeat)?;
        let returns = repeater.returns(kind).try_clone()?;
        let nothing = repeater.repeat(kind, &returns, &start, repeat)?.nanoseconds;
        let room = match self.room {
            Some(_) => {
                let rooms = repeater.rooms(kind).try_clone()?;
                Some(repeater.repeat(kind, &rooms, &start, repeat)?.nanoseconds - nothing)
            }
            None => None,
        };
        Ok(Sample { program: repeated.nanoseconds - nothing, room })
    }

    /// The last repetition must have ended as a run by itself does.
    fn check(&self, rig: &mut Rig, repeated: &Repeated, repeat: u32) -> Result<()> {
        let last = (repeat as usize).checked_sub(1).context("no repetition")?;
        let frame = match self.destinations.len() {
            0 => self.frame.clone(),
            count => readdressed(&self.frame, self.destinations[last % count]),
        };
        let expected = run(rig, self.hook, &frame);
        ensure!(repeated.verdict == expected.verdict, "verdict {}", repeated.verdict);
        let (is, should) = (self.comparable(&repeated.data), self.comparable(&expected.data));
        ensure!(is == should, "the packet came out as\n{is:02x?}, not as\n{should:02x?}");
        Ok(())
    }

    /// A packet without what is random in an outer header that was put on: identification and checksum of IPv4.
    fn comparable(&self, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        if self.outcome == Outcome::Ipip && data[12] == 0x08 {
            data[18..20].fill(0);
            data[24..26].fill(0);
        }
        data
    }
}

fn run(rig: &mut Rig, hook: Hook, frame: &[u8]) -> Run {
    if hook == Hook::Xdp { rig.run_xdp(frame) } else { rig.run(hook, frame) }
}

/// How the program changes the room for headers, as it asks the kernel to.
fn room(hook: Hook, before: &[u8], after: &[u8]) -> Option<Room> {
    const ENCAP: [u32; 2] = [1 << 1, 1 << 2];
    const DECAP: [u32; 2] = [1 << 7, 1 << 8];
    let difference = i32::try_from(after.len()).ok()? - i32::try_from(before.len()).ok()?;
    let of_family = |flags: [u32; 2]| if after[12] == 0x08 { flags[0] } else { flags[1] };
    let other_family = if before[12] == after[12] { 0 } else { of_family(DECAP) };
    let flags = if difference > 0 { of_family(ENCAP) } else { other_family };
    match (difference, hook) {
        (0, _) => None,
        (_, Hook::Xdp) => Some(Room { difference, ..Room::default() }),
        _ => Some(Room { difference, flags, other_family }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of linux/bpf.h: encapsulation in IPv4 2, in IPv6 4; decapsulation to IPv4 128, to IPv6 256.
    #[test]
    fn room_is_asked_for_as_the_programs_do() {
        let frame = |family: u8, length: usize| {
            let mut frame = vec![0; length];
            frame[12] = if family == 4 { 0x08 } else { 0x86 };
            frame
        };
        let of = |hook, before: Vec<u8>, after: Vec<u8>| {
            room(hook, &before, &after).map(|room| (room.difference, room.flags, room.other_family))
        };
        let (from_pod, from_uplink) = (Hook::FromPod, Hook::FromUplink);
        assert_eq!(of(from_pod, frame(4, 64), frame(4, 64)), None);
        assert_eq!(of(from_pod, frame(4, 64), frame(4, 84)), Some((20, 2, 0)));
        assert_eq!(of(from_pod, frame(4, 64), frame(6, 104)), Some((40, 4, 256)));
        assert_eq!(of(from_pod, frame(6, 84), frame(4, 104)), Some((20, 2, 128)));
        assert_eq!(of(from_uplink, frame(4, 84), frame(4, 64)), Some((-20, 0, 0)));
        assert_eq!(of(from_uplink, frame(6, 104), frame(4, 64)), Some((-40, 128, 128)));
        assert_eq!(of(Hook::Xdp, frame(6, 104), frame(4, 64)), Some((-40, 0, 0)));
    }
}
