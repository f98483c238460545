//! The few system calls that programs without an object file need: load, attach, read a counter, run on live frames.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::libc;

use crate::netns::Netns;

// Commands, types and flags of uapi/linux/bpf.h.
const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP: libc::c_long = 1;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;
const MAP_TYPE_ARRAY: u32 = 2;
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;

/// What a program is, and where it can be attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A tc program at an interface's ingress, attached as tcx.
    Ingress,
    /// An XDP program in an interface's driver.
    Xdp,
}

impl Kind {
    fn program_type(self) -> u32 {
        match self {
            Self::Ingress => 3,
            Self::Xdp => 6,
        }
    }

    fn attach_type(self) -> u32 {
        match self {
            Self::Ingress => 46,
            Self::Xdp => 37,
        }
    }

    fn flags(self) -> u32 {
        match self {
            Self::Ingress => 0,
            // XDP_FLAGS_DRV_MODE
            Self::Xdp => 1 << 2,
        }
    }
}

/// A number of 64 bits that programs add to: a map of one value.
#[derive(Debug)]
pub struct Counter(OwnedFd);

#[repr(C)]
#[derive(Default)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    rest: [u64; 14],
}

#[repr(C)]
#[derive(Default)]
struct Lookup {
    map: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl Counter {
    /// One at zero.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn new() -> Result<Self> {
        let mut create = Create {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size: 8,
            max_entries: 1,
            ..Create::default()
        };
        Ok(Self(descriptor(MAP_CREATE, &mut create).context("creating a counter")?))
    }

    /// For programs.
    #[must_use]
    pub fn map(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// How much was counted so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut lookup = Lookup {
            map: number(&self.0)?,
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            flags: 0,
        };
        call(MAP_LOOKUP, &mut lookup).context("reading a counter")?;
        Ok(value)
    }
}

/// A loaded program.
#[derive(Debug)]
pub struct Program {
    kind: Kind,
    file: OwnedFd,
}

/// A program at an interface; dropping it takes it away.
#[derive(Debug)]
pub struct Attached {
    _link: OwnedFd,
}

#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    rest: [u64; 10],
}

#[repr(C)]
#[derive(Default)]
struct Link {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
    rest: [u64; 4],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    verdict: u32,
    data_in_length: u32,
    data_out_length: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_lengths: u64,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

impl Program {
    /// Loads it.
    ///
    /// # Errors
    /// The verifier refuses it; the error has its log.
    pub fn load(kind: Kind, instructions: &[u64]) -> Result<Self> {
        let mut log = vec![0_u8; 1 << 16];
        let mut load = Load {
            program_type: kind.program_type(),
            count: u32::try_from(instructions.len())?,
            instructions: instructions.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 1,
            log_size: u32::try_from(log.len())?,
            log: log.as_mut_ptr() as u64,
            ..Load::default()
        };
        let file = descriptor(PROG_LOAD, &mut load);
        let said = || String::from_utf8_lossy(&log).trim_end_matches('\0').to_owned();
        let file = file
            .with_context(|| format!("loading a program of the harness; the verifier says:\n{}", said()))?;
        Ok(Self { kind, file })
    }

    /// Attaches it to an interface.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses: tcx needs 6.6.
    pub fn attach(&self, netns: &Netns, interface: &str) -> Result<Attached> {
        let index = netns.interface_index(interface)?;
        let mut link = Link {
            program: number(&self.file)?,
            interface: index,
            attach_type: self.kind.attach_type(),
            flags: self.kind.flags(),
            ..Link::default()
        };
        let link = netns.run(|| descriptor(LINK_CREATE, &mut link))?.with_context(|| {
            format!(
                "attaching a program of the harness to {interface} in {} (tcx needs Linux 6.6)",
                netns.name()
            )
        })?;
        Ok(Attached { _link: link })
    }

    /// Runs an XDP program so many times on frames that are then treated as it says, as if they had come from a driver.
    /// The kernel reuses frames, with what was written into them. Returns how long it worked for each: in whole
    /// nanoseconds, without what other threads had of the CPU in between.
    ///
    /// # Errors
    /// The kernel refuses: it needs 5.18.
    pub fn send_live_frames(&self, frame: &[u8], count: u32) -> Result<Duration> {
        ensure!(self.kind == Kind::Xdp, "only XDP programs run on live frames");
        let mut run = TestRun {
            program: number(&self.file)?,
            data_in_length: u32::try_from(frame.len())?,
            data_in: frame.as_ptr() as u64,
            repeat: count,
            flags: TEST_XDP_LIVE_FRAMES,
            ..TestRun::default()
        };
        call(PROG_TEST_RUN, &mut run).context("sending XDP frames by a test run (needs Linux 5.18)")?;
        Ok(Duration::from_nanos(run.duration.into()))
    }
}

fn number(file: &OwnedFd) -> Result<u32> {
    Ok(u32::try_from(file.as_raw_fd())?)
}

fn call<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are of the layout that the command has, zero behind what is set, and what they point to is
    // borrowed by the caller until the call returns.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn descriptor<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(call(command, attributes)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
