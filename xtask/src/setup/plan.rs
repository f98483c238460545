//! What to install, decided from what is there. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use super::apt::Candidate;
use crate::toolchain::{MINIMUM_RUSTC, Missing, RUST_PACKAGES, llvm_package, numbers};

/// The programs that building, the demo and the tests run, with the Debian package of each.
pub const PROGRAMS: [(&str, &str); 13] = [
    ("cc", "gcc"),
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("iptables-restore", "iptables"),
    ("ping", "iputils-ping"),
    ("traceroute", "traceroute"),
    ("tracepath", "iputils-tracepath"),
    ("tcpdump", "tcpdump"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
    ("bpftool", "bpftool"),
    ("sysctl", "procps"),
];

/// What was found on this machine.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// The programs of [`PROGRAMS`] that are not installed.
    pub programs: BTreeSet<&'static str>,
    /// What is missing of the BPF toolchain, if anything.
    pub toolchain: Option<Missing>,
    /// There is an apt-get.
    pub apt: bool,
    /// What apt could install, of [`packages_in_question`].
    pub candidates: BTreeMap<String, Candidate>,
    /// apt can install [`RUST_PACKAGES`] without removing anything.
    pub rust_fits_in: bool,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Fetch apt's lists of packages; what else there is to do shows afterwards.
    UpdateLists,
    /// Install Debian packages.
    Install(Vec<String>),
    /// Unpack [`RUST_PACKAGES`] into the user's cache, because installing them would remove others.
    UnpackRust,
    /// Build bpf-linker with Debian's LLVM of this major version.
    BuildLinker(u32),
}

/// What is to be done now, and what cannot be done at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// One line each; empty if the steps are enough.
    pub unsolved: Vec<String>,
}

impl Plan {
    /// There is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.unsolved.is_empty()
    }
}

/// The packages whose candidates decide what [`plan`] does.
pub fn packages_in_question(programs: &BTreeSet<&'static str>, toolchain: Option<&Missing>) -> Vec<String> {
    let mut packages = program_packages(programs);
    if let Some(missing) = toolchain {
        packages.extend(RUST_PACKAGES.map(str::to_owned));
        packages.extend(missing.linker.map(llvm_package));
    }
    packages
}

/// Decides what to do next. Call it again with a new observation when its steps are done.
pub fn plan(observed: &Observed, lists_updated: bool) -> Plan {
    let mut plan = Plan::default();
    let mut packages = program_packages(&observed.programs);
    let available = |package: &String| observed.candidates.contains_key(package);
    if !observed.apt {
        let missing: Vec<_> = observed.programs.iter().copied().collect();
        if !missing.is_empty() {
            plan.unsolved.push(format!(
                "install these programs (this machine has no apt-get): {}",
                missing.join(", ")
            ));
        }
        plan.unsolved.extend(observed.toolchain.as_ref().map(by_hand));
        return plan;
    }
    let mut later = None;
    if let Some(missing) = &observed.toolchain {
        let llvm = missing.linker.map(llvm_package).filter(available);
        // A nightly whose LLVM is not packaged gets no linker here: then the packaged compiler has to do.
        let needs_rust = missing.compiler || llvm.is_none();
        if needs_rust && !has_rust(&observed.candidates) {
            plan.unsolved.push(by_hand(missing));
        } else if needs_rust && observed.rust_fits_in {
            packages.extend(RUST_PACKAGES.map(str::to_owned));
        } else if needs_rust {
            later = Some(Step::UnpackRust);
        } else {
            later = missing.linker.map(Step::BuildLinker);
        }
        if missing.linker.is_some() && plan.unsolved.is_empty() {
            packages.extend(llvm);
        }
    }
    let unknown: Vec<_> = packages.iter().filter(|package| !available(package)).cloned().collect();
    let solved = unknown.is_empty() && plan.unsolved.is_empty();
    if !solved && !lists_updated {
        return Plan { steps: vec![Step::UpdateLists], unsolved: Vec::new() };
    }
    if !unknown.is_empty() {
        plan.unsolved.push(format!("apt has no package {}: install these by hand", unknown.join(", ")));
    }
    packages.retain(|package| observed.candidates.get(package).is_some_and(|candidate| !candidate.installed));
    if !packages.is_empty() {
        plan.steps.push(Step::Install(packages));
    }
    plan.steps.extend(later);
    plan
}

/// What people have to do themselves for a toolchain, where set-up does not know how.
fn by_hand(missing: &Missing) -> String {
    let remedies = Missing { debian: false, ..missing.clone() }.remedies();
    format!(
        "no package here has a rustc that compiles for BPF. Known to work: the packages of Debian 12; expected to, but \
         not tried:\n    {}",
        remedies.join("\n    ")
    )
}

/// Whether apt has a new enough rustc with a `core` for BPF.
fn has_rust(candidates: &BTreeMap<String, Candidate>) -> bool {
    let [rustc, core] = RUST_PACKAGES;
    candidates.get(rustc).is_some_and(|candidate| numbers(&candidate.version) >= MINIMUM_RUSTC)
        && candidates.contains_key(core)
}

/// The packages of some of [`PROGRAMS`], each once.
fn program_packages(programs: &BTreeSet<&'static str>) -> Vec<String> {
    let mut packages = BTreeSet::new();
    for (program, package) in PROGRAMS.iter().filter(|(program, _)| programs.contains(program)) {
        packages.insert((*package).to_owned());
        if *program == "cc" {
            packages.insert("libc6-dev".to_owned());
        }
    }
    packages.into_iter().collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
