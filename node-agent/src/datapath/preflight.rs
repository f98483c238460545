//! What the kernel makes of the programs, and whose programs run at an interface, for `node-agent doctor`. Nothing is
//! pinned or attached.

use std::path::Path;

use aya::{
    EbpfLoader,
    programs::{SchedClassifier, TcAttachType, Xdp},
    util::KernelVersion,
};
use node_ebpf_common::{Hook, map_name};

use super::{DatapathError, Pins, clsact, kernel, links, program_set::OBJECT, xdp::Device};

/// Programs at an interface that are not ours, and what its driver can do.
#[derive(Debug, Clone, Default)]
pub struct OtherPrograms {
    /// At tc's hooks, by name or number.
    pub tc: Vec<String>,
    /// XDP programs, by number.
    pub xdp: Vec<String>,
    /// Whether the driver runs XDP programs; none if the kernel does not tell.
    pub runs_xdp: Option<bool>,
}

/// Checks that the running kernel is new enough.
///
/// # Errors
/// It is not.
pub fn check_kernel() -> Result<(), DatapathError> {
    kernel::check()
}

/// Whether the kernel counts maps as locked memory of their process.
#[must_use]
pub fn counts_locked_memory() -> bool {
    KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(5, 11, 0))
}

/// Whether the kernel has tcx: it answers what runs there.
#[must_use]
pub fn has_tcx() -> bool {
    SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok()
}

/// Loads every program with maps of its own, which go again with them: what the verifier says of each.
#[must_use]
pub fn try_programs() -> Vec<(String, Result<(), String>)> {
    let mut loader = EbpfLoader::new();
    loader.btf(None).map_max_entries(map_name::TRACE_EVENTS, 4096);
    let mut ebpf = match loader.load(&OBJECT.0) {
        Ok(ebpf) => ebpf,
        Err(error) => {
            return vec![("maps".to_owned(), Err(DatapathError::Load(Box::new(error)).to_string()))];
        }
    };
    let mut load = |hook: Hook| {
        let program = ebpf.program_mut(hook.program()).ok_or("the object has no such program".to_owned())?;
        let loaded = match hook {
            Hook::Xdp => <&mut Xdp>::try_from(program).and_then(|program| program.load()),
            _ => <&mut SchedClassifier>::try_from(program).and_then(|program| program.load()),
        };
        loaded.map_err(|error| error.to_string())
    };
    Hook::ALL.into_iter().map(|hook| (hook.label().to_owned(), load(hook))).collect()
}

/// Programs at this interface that are not ours. What the kernel does not tell is left out.
#[must_use]
pub fn other_programs(bpffs: &Path, index: u32, name: &str) -> OtherPrograms {
    let pins = Pins::new(bpffs);
    let running = |hook| links::running_program(&pins, hook, index, name).ok().flatten();
    let ours: Vec<u32> = Hook::ALL.into_iter().filter_map(running).collect();
    let mut others = OtherPrograms::default();
    for side in [TcAttachType::Ingress, TcAttachType::Egress] {
        let running = SchedClassifier::query_tcx(name, side).map(|(_, running)| running).unwrap_or_default();
        for program in running.iter().filter(|program| !ours.contains(&program.id())) {
            others.tc.push(format!(
                "program {} (tcx {side:?})",
                program.name_as_str().unwrap_or("without a name")
            ));
        }
    }
    for hook in [Hook::FromUplink, Hook::ToUplink] {
        others.tc.extend(clsact::others(hook, index).unwrap_or_default());
    }
    if let Ok(device) = Device::look(index) {
        let foreign = device.programs.iter().filter(|program| !ours.contains(program));
        others.xdp = foreign.map(ToString::to_string).collect();
        others.runs_xdp = device.runs_xdp();
    }
    others
}
