//! What set-up does on machines that lack one thing or another.

use super::*;

fn candidates(packages: &[(&str, &str, bool)]) -> BTreeMap<String, Candidate> {
    let entry = |&(name, version, installed): &(&str, &str, bool)| {
        (name.to_owned(), Candidate { version: version.to_owned(), installed })
    };
    packages.iter().map(entry).collect()
}

fn missing(compiler: bool, linker: Option<u32>) -> Option<Missing> {
    Some(Missing { compiler, linker, rejected: Vec::new(), debian: true })
}

/// Debian 12 with its lists fetched, and nothing of ours installed.
fn fresh() -> Observed {
    let known = [
        ("bpftool", "7.1", false),
        ("iproute2", "6.1", false),
        ("rustc-web", "1.96.0+dfsg1-1", false),
        ("libstd-rust-web-dev-bpf", "1.96.0+dfsg1-1", false),
        ("llvm-22-dev", "1:22.1.8", false),
    ];
    Observed {
        programs: BTreeSet::from(["ip", "tc", "bpftool"]),
        toolchain: missing(true, Some(22)),
        apt: true,
        candidates: candidates(&known),
        rust_fits_in: true,
    }
}

fn install(packages: &[&str]) -> Step {
    Step::Install(packages.iter().map(|&package| package.to_owned()).collect())
}

#[test]
fn nothing_is_done_where_nothing_is_missing() {
    let complete = Observed { apt: true, ..Observed::default() };
    assert_eq!(plan(&complete, false), Plan::default());
    assert_eq!(plan(&Observed::default(), false), Plan::default());
}

#[test]
fn a_fresh_debian_gets_everything_in_two_rounds() {
    let first = plan(&fresh(), true);
    let packages = ["bpftool", "iproute2", "rustc-web", "libstd-rust-web-dev-bpf", "llvm-22-dev"];
    assert_eq!(first, Plan { steps: vec![install(&packages)], unsolved: vec![] });
    let installed = candidates(&[
        ("rustc-web", "1.96.0", true),
        ("libstd-rust-web-dev-bpf", "1.96.0", true),
        ("llvm-22-dev", "1:22", true),
    ]);
    let then = Observed {
        programs: BTreeSet::new(),
        toolchain: missing(false, Some(22)),
        candidates: installed,
        ..fresh()
    };
    assert_eq!(plan(&then, true).steps, [Step::BuildLinker(22)]);
}

#[test]
fn empty_or_old_lists_are_fetched_once() {
    let empty = Observed { candidates: BTreeMap::new(), ..fresh() };
    assert_eq!(plan(&empty, false), Plan { steps: vec![Step::UpdateLists], unsolved: vec![] });
    let after = plan(&empty, true);
    assert!(after.steps.is_empty());
    assert_eq!(after.unsolved.len(), 2, "{:?}", after.unsolved);
    let mut old = fresh();
    old.candidates.extend(candidates(&[("rustc-web", "1.85.0+dfsg3", false)]));
    assert_eq!(plan(&old, false).steps, [Step::UpdateLists]);
    assert!(plan(&old, true).unsolved[0].contains("Known to work"));
}

#[test]
fn nothing_is_removed_for_the_compiler() {
    let conflict = Observed { rust_fits_in: false, programs: BTreeSet::new(), ..fresh() };
    assert_eq!(plan(&conflict, true).steps, [install(&["llvm-22-dev"]), Step::UnpackRust]);
}

#[test]
fn a_compiler_whose_llvm_is_not_packaged_is_replaced_by_the_packaged_one() {
    let nightly = Observed { programs: BTreeSet::new(), toolchain: missing(false, Some(23)), ..fresh() };
    assert_eq!(plan(&nightly, true).steps, [install(&RUST_PACKAGES)]);
}

#[test]
fn without_apt_people_are_told_what_to_install() {
    let other = Observed { apt: false, ..fresh() };
    let plan = plan(&other, false);
    assert!(plan.steps.is_empty());
    assert!(plan.unsolved[0].contains("bpftool, ip, tc"), "{:?}", plan.unsolved);
    assert!(plan.unsolved[1].contains("--component rust-src"), "{:?}", plan.unsolved);
}

#[test]
fn a_c_compiler_comes_with_the_headers_of_libc() {
    let programs = BTreeSet::from(["cc"]);
    assert_eq!(packages_in_question(&programs, None), ["gcc", "libc6-dev"]);
}
