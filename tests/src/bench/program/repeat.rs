//! Repeats a program on one packet, which is put back before each repetition.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use aya::{
    Ebpf, TestRunOptions,
    maps::{Array, ProgramArray},
    programs::ProgramFd,
};
use node_ebpf_common::bench::{TARGETS, Target, Template, map_name};

use super::{
    super::own_object,
    start::{Start, target},
};

/// Which kind of program is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tc classifier.
    Skb,
    /// An XDP program.
    Frame,
}

/// How the last repetition ended, and what each took.
pub struct Repeated {
    /// Nanoseconds of processor time.
    pub nanoseconds: f64,
    /// The verdict.
    pub verdict: u32,
    /// The packet.
    pub data: Vec<u8>,
}

/// The programs that repeat, and the ones to compare with.
pub struct Repeater {
    ebpf: Ebpf,
    targets: u32,
    returns: [ProgramFd; 2],
    rooms: [ProgramFd; 2],
}

impl Repeater {
    /// Loads them.
    ///
    /// # Errors
    /// The kernel does not take them.
    pub fn load() -> Result<Self> {
        let mut ebpf = own_object::load(&[("DESTINATIONS_V4", 1), ("DESTINATIONS_V6", 1)])?;
        let mut pair = |skb, frame| -> Result<[ProgramFd; 2]> {
            let skb = own_object::classifier(&mut ebpf, skb)?.fd()?.try_clone()?;
            Ok([skb, own_object::xdp(&mut ebpf, frame)?.fd()?.try_clone()?])
        };
        let (returns, rooms) = (pair("return_skb", "return_frame")?, pair("room_skb", "room_frame")?);
        pair("repeat_skb", "repeat_frame")?;
        Ok(Self { ebpf, targets: 0, returns, rooms })
    }

    /// The program that returns at once.
    #[must_use]
    pub fn returns(&self, kind: Kind) -> &ProgramFd {
        &self.returns[kind as usize]
    }

    /// The program that only changes the room.
    #[must_use]
    pub fn rooms(&self, kind: Kind) -> &ProgramFd {
        &self.rooms[kind as usize]
    }

    /// Keeps destinations for a frame to take in turn. Returns where they are: `Template::next`.
    ///
    /// # Errors
    /// There is no room for so many.
    pub fn add_targets(&mut self, frame: &[u8], destinations: &[IpAddr]) -> Result<u32> {
        let first = self.targets;
        let mut map: Array<_, Target> =
            self.ebpf.map_mut(map_name::TARGETS).context("no map of targets")?.try_into()?;
        for destination in destinations {
            ensure!(self.targets < TARGETS, "more than {TARGETS} destinations");
            map.set(self.targets, target(frame, *destination), 0)?;
            self.targets += 1;
        }
        Ok(first)
    }

    /// Repeats a program on this frame.
    ///
    /// # Errors
    /// The packet could not be put back, or the kernel does not run the program.
    pub fn repeat(
        &mut self,
        kind: Kind,
        program: &ProgramFd,
        start: &Start<'_>,
        repeat: u32,
    ) -> Result<Repeated> {
        let mut template: Array<_, Template> =
            self.ebpf.map_mut(map_name::TEMPLATE).context("no map of the template")?.try_into()?;
        template.set(0, start.template(), 0)?;
        let name = match kind {
            Kind::Skb => map_name::REPEATED,
            Kind::Frame => map_name::REPEATED_XDP,
        };
        let mut next: ProgramArray<_> =
            self.ebpf.map_mut(name).context("no map of what is repeated")?.try_into()?;
        next.set(0, program, 0)?;
        let mut data = vec![0; start.frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(start.frame),
            data_out: Some(&mut data),
            repeat,
            ..TestRunOptions::default()
        };
        let (nanoseconds, result) = match kind {
            Kind::Skb => {
                own_object::time_classifier(own_object::classifier(&mut self.ebpf, "repeat_skb")?, options)?
            }
            Kind::Frame => own_object::time_xdp(own_object::xdp(&mut self.ebpf, "repeat_frame")?, options)?,
        };
        if result.return_value == FAILED {
            bail!(
                "a packet could not be put back for the next repetition, or the program could not be called"
            );
        }
        data.truncate(result.data_size_out as usize);
        Ok(Repeated { nanoseconds, verdict: result.return_value, data })
    }

    /// Nanoseconds of the program that returns at once, run as it is.
    ///
    /// # Errors
    /// The kernel does not run it.
    pub fn bare(&mut self, kind: Kind, frame: &[u8], repeat: u32) -> Result<f64> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let (nanoseconds, _) = match kind {
            Kind::Skb => {
                own_object::time_classifier(own_object::classifier(&mut self.ebpf, "return_skb")?, options)?
            }
            Kind::Frame => own_object::time_xdp(own_object::xdp(&mut self.ebpf, "return_frame")?, options)?,
        };
        Ok(nanoseconds)
    }
}

/// What a program returns that could not put a packet back.
const FAILED: u32 = 0x0bad;
