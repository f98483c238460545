//! What Debian's package system knows and would do. Questions only; nothing is changed here.

use std::collections::BTreeMap;
use std::process::Command;

use crate::process;

/// What apt says of a package it could install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The version it would install.
    pub version: String,
    /// That version is installed.
    pub installed: bool,
}

/// The packages that can be installed; others are left out.
pub fn candidates(packages: &[String]) -> BTreeMap<String, Candidate> {
    let answer = process::answer(Command::new("apt-cache").arg("policy").args(packages));
    parse_policy(&answer.unwrap_or_default())
}

/// Reads the output of `apt-cache policy`.
fn parse_policy(policy: &str) -> BTreeMap<String, Candidate> {
    let mut found = BTreeMap::new();
    let (mut package, mut installed) = ("", "");
    for line in policy.lines() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with(' ')) {
            package = name;
        } else if let Some(version) = line.strip_prefix("  Installed: ") {
            installed = version;
        } else if let Some(version) =
            line.strip_prefix("  Candidate: ").filter(|version| *version != "(none)")
        {
            let candidate = Candidate { version: version.to_owned(), installed: version == installed };
            found.insert(package.to_owned(), candidate);
        }
    }
    found
}

/// Whether packages can be installed beside everything that is installed now.
pub fn fits_in(packages: &[&str]) -> bool {
    let mut simulation = Command::new("apt-get");
    simulation.args(["install", "--simulate", "--no-install-recommends", "--assume-yes"]).args(packages);
    process::answer(&mut simulation).is_some_and(|plan| !removes(&plan))
}

/// Whether a simulated installation would remove a package.
fn removes(simulation: &str) -> bool {
    simulation.lines().any(|line| line.starts_with("Remv "))
}

/// `packages` and those they depend on whose name starts with one of `prefixes`.
pub fn family(packages: &[&str], prefixes: &[&str]) -> Vec<String> {
    let mut wanted: Vec<String> = packages.iter().map(|&package| package.to_owned()).collect();
    let mut next = 0;
    while let Some(package) = wanted.get(next).cloned() {
        let answer = process::answer(Command::new("apt-cache").args(["depends", "--important", &package]));
        for dependency in parse_depends(&answer.unwrap_or_default()) {
            let belongs = prefixes.iter().any(|prefix| dependency.starts_with(prefix));
            if belongs && !wanted.contains(&dependency) {
                wanted.push(dependency);
            }
        }
        next += 1;
    }
    wanted
}

/// Reads the output of `apt-cache depends`.
fn parse_depends(depends: &str) -> Vec<String> {
    depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_read_from_the_policy() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n     \
                      1.96.0+dfsg1-1~deb12u2 500\n        500 http://mirror.example/debian bookworm/main\n\
                      rustup:\n  Installed: (none)\n  Candidate: (none)\n  Version table:\n\
                      llvm-22-dev:\n  Installed: 1:22.1.8\n  Candidate: 1:22.1.8\n";
        let expected = [("llvm-22-dev", "1:22.1.8", true), ("rustc-web", "1.96.0+dfsg1-1~deb12u2", false)];
        let expected = expected.map(|(name, version, installed)| {
            (name.to_owned(), Candidate { version: version.to_owned(), installed })
        });
        assert_eq!(parse_policy(policy), BTreeMap::from(expected));
        assert_eq!(parse_policy(""), BTreeMap::new());
    }

    #[test]
    fn a_plan_that_removes_something_is_recognised() {
        assert!(removes("NOTE: This is only a simulation!\nRemv rustc [1.63.0]\nInst rustc-web (1.96.0)\n"));
        assert!(!removes("Inst rustc-web (1.96.0)\nConf rustc-web (1.96.0)\n"));
    }

    #[test]
    fn dependencies_are_read_without_the_conflicts() {
        let depends =
            "libstd-rust-web-dev\n  Depends: libstd-rust-web-1.96\n  Conflicts: <libstd-rust-dev>\n";
        assert_eq!(parse_depends(depends), ["libstd-rust-web-1.96"]);
    }
}
