//! The XDP program of the rig, and its maps.

use aya::{
    TestRun as _, TestRunOptions,
    maps::{Array, DevMapHash, HashMap},
    programs::Xdp,
};
use node_ebpf_common::{Hook, NextHop, Uplink, map_name};

use super::rig::{Rig, Run};

/// Verdicts (linux/bpf.h). Dropped.
pub const XDP_DROP: u32 = 1;
/// On to tc and the stack.
pub const XDP_PASS: u32 = 2;
/// Redirected.
pub const XDP_REDIRECT: u32 = 4;

impl Rig {
    /// The XDP program. It is loaded by the first who wants it: kernels before 5.18 take the others only.
    pub fn xdp(&mut self) -> &mut Xdp {
        let program: &mut Xdp =
            self.ebpf.program_mut(Hook::Xdp.program()).expect("program").try_into().expect("an XDP program");
        if program.fd().is_err() {
            program.load().unwrap_or_else(|error| panic!("verifier: xdp: {error:#?}"));
        }
        program
    }

    /// Runs it once, on a frame that comes in on the loopback.
    pub fn run_xdp(&mut self, packet: &[u8]) -> Run {
        let mut data = vec![0; packet.len() + 64];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut data), ..TestRunOptions::default() };
        let (result, outcome, counter) =
            self.counted(Hook::Xdp, |rig| rig.xdp().test_run(options).expect("test run"));
        data.truncate(result.data_size_out as usize);
        Run { verdict: result.return_value, data, outcome, counter, mark: 0 }
    }

    /// Runs it once; returns verdict and packet.
    pub fn run_xdp_raw(&mut self, packet: &[u8]) -> (u32, Vec<u8>) {
        let mut data = vec![0; packet.len() + 64];
        let options =
            TestRunOptions { data_in: Some(packet), data_out: Some(&mut data), ..TestRunOptions::default() };
        let result = self.xdp().test_run(options).expect("test run");
        data.truncate(result.data_size_out as usize);
        (result.return_value, data)
    }

    /// Tells it of an uplink.
    pub fn set_uplink(&mut self, interface: u32, uplink: Uplink) {
        HashMap::<_, u32, Uplink>::try_from(self.map(map_name::UPLINKS))
            .expect("hash")
            .insert(interface, uplink, 0)
            .expect("uplink");
    }

    /// Lets it send out through an interface.
    pub fn set_device(&mut self, interface: u32) {
        DevMapHash::try_from(self.map(map_name::DEVICES))
            .expect("device map")
            .insert(interface, interface, None, 0)
            .expect("device");
    }

    /// Takes that back.
    pub fn remove_device(&mut self, interface: u32) {
        DevMapHash::try_from(self.map(map_name::DEVICES))
            .expect("device map")
            .remove(interface)
            .expect("device");
    }

    /// Reads a next-hop object.
    pub fn next_hop(&mut self, index: u32) -> NextHop {
        Array::<_, NextHop>::try_from(self.map(map_name::NEXT_HOPS))
            .expect("array")
            .get(&index, 0)
            .expect("next hop")
    }
}
