//! A program that returns at once: what a test run itself costs. Loaded by the system call, since there is no
//! object to load it from.

use std::{
    io,
    os::fd::AsRawFd,
    os::fd::{FromRawFd, OwnedFd},
};

use nix::libc;

/// The loaded program.
pub struct Empty(OwnedFd);

const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const SCHED_CLS: u32 = 3;
/// `r0 = 0; exit`.
const INSTRUCTIONS: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// The start of `union bpf_attr` for `BPF_PROG_LOAD` (uapi/linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Load {
    program_type: u32,
    instructions: u32,
    instruction: u64,
    license: u64,
    rest: [u64; 13],
}

/// The start of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
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
    rest: [u64; 10],
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the attributes are of the layout that the command has, and what they point to outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Empty {
    /// Loads it.
    pub fn load() -> Self {
        let mut attributes = Load {
            program_type: SCHED_CLS,
            instructions: 2,
            instruction: INSTRUCTIONS.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            ..Load::default()
        };
        let fd = bpf(PROG_LOAD, &mut attributes).expect("the empty program loads");
        // SAFETY: the kernel has just given us this descriptor.
        Self(unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor")) })
    }

    /// Nanoseconds of a run, on average of so many.
    pub fn nanoseconds(&self, packet: &[u8], repeat: u32) -> u128 {
        let mut attributes = TestRun {
            program: u32::try_from(self.0.as_raw_fd()).expect("a descriptor"),
            data_in_length: u32::try_from(packet.len()).expect("a packet"),
            data_in: packet.as_ptr() as u64,
            repeat,
            ..TestRun::default()
        };
        bpf(PROG_TEST_RUN, &mut attributes).expect("a test run");
        u128::from(attributes.duration)
    }
}
