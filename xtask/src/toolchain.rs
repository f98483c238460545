//! Finds what can compile Podroute's kernel-side programs, and compiles them with it.
//!
//! A compiler qualifies when it has a `core` for `bpfel-unknown-none`: a rustup nightly with `rust-src` builds
//! one (`-Z build-std`), Debian's `rustc-web` brings one prebuilt. Both need `bpf-linker`.
//!
//! This module depends on `std` only, because `node-agent/build.rs` includes it as well; for the same reason its
//! parts are named by path.

#[path = "toolchain/compile.rs"]
pub mod compile;
#[path = "toolchain/discover.rs"]
pub mod discover;

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

pub use discover::find;

/// The target the programs are compiled for: BPF, little-endian.
pub const TARGET: &str = "bpfel-unknown-none";
/// The oldest rustc (major, minor) that compiles the workspace; `rust-version` in Cargo.toml says the same.
pub const MINIMUM_RUSTC: (u32, u32) = (1, 95);
/// The bpf-linker that set-up installs.
pub const LINKER_VERSION: &str = "0.13.0";
/// Debian packages with a rustc that has `core` for [`TARGET`]. They conflict with `rustc` and `rustup`.
pub const RUST_PACKAGES: [&str; 2] = ["rustc-web", "libstd-rust-web-dev-bpf"];
/// The LLVM of [`RUST_PACKAGES`] at the time of writing; only to name it before there is a compiler to ask.
const PACKAGED_LLVM: u32 = 22;
/// Names one [`Origin`] (`nightly`, `distribution` or `unpacked`) and so overrides the order of preference.
pub const ORIGIN_VARIABLE: &str = "PODROUTE_BPF_TOOLCHAIN";

/// Where a compiler comes from, in the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A nightly installed by rustup.
    Nightly,
    /// A rustc of the distribution, at its usual place.
    Distribution,
    /// The distribution's packages, unpacked below [`unpacked_root`] because they cannot be installed here.
    Unpacked,
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "nightly",
            Self::Distribution => "distribution",
            Self::Unpacked => "unpacked",
        })
    }
}

/// What a compiler has of `core` for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// Compiled; nothing to be done.
    Prebuilt,
    /// Its source, which `-Z build-std` compiles.
    Source,
    /// Neither.
    Absent,
}

/// A rustc that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it comes from.
    pub origin: Origin,
    /// The executable.
    pub rustc: PathBuf,
    /// Its version as it prints it, `1.96.0`.
    pub release: String,
    /// The major version of its LLVM; 0 if it does not say.
    pub llvm: u32,
    /// What it has of `core`.
    pub core: Core,
}

/// A bpf-linker that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The executable.
    pub path: PathBuf,
    /// The major version of its LLVM, if it can be told.
    pub llvm: Option<u32>,
}

/// A compiler and a linker that together build the programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler taken.
    pub compiler: Compiler,
    /// The linker taken.
    pub linker: Linker,
}

/// Why there is no toolchain; displayed with the commands that would change that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// No compiler qualifies.
    pub compiler: bool,
    /// No bpf-linker is there for the compilers that qualify; a new one has to be made with this LLVM.
    pub linker: Option<u32>,
    /// One line for everything that was looked at and not taken.
    pub rejected: Vec<String>,
    /// This machine can install Debian packages.
    pub debian: bool,
}

/// Takes the first compiler that qualifies, with the first linker that understands it. `only` restricts the choice
/// to the origin of this name.
///
/// # Errors
/// What is missing, if no compiler qualifies or no linker understands one that does.
pub fn choose(
    compilers: Vec<Compiler>,
    linkers: &[Linker],
    only: Option<&str>,
    debian: bool,
) -> Result<Toolchain, Missing> {
    let mut rejected = Vec::new();
    let mut fit = Vec::new();
    for compiler in compilers {
        match unfit(&compiler, only) {
            Some(reason) => rejected.push(format!("{compiler}: {reason}")),
            None => fit.push(compiler),
        }
    }
    for compiler in &fit {
        // An older LLVM cannot read what a newer one writes; the other way round is fine.
        let understands = |linker: &&Linker| linker.llvm.is_none_or(|llvm| llvm >= compiler.llvm);
        if let Some(linker) = linkers.iter().find(understands) {
            return Ok(Toolchain { compiler: compiler.clone(), linker: linker.clone() });
        }
    }
    for linker in linkers.iter().filter(|_| !fit.is_empty()) {
        let llvm = linker.llvm.unwrap_or_default();
        rejected.push(format!("{} with LLVM {llvm}: older than the compiler's", linker.path.display()));
    }
    // The oldest is the likeliest to be packaged.
    let wanted = fit.iter().map(|compiler| compiler.llvm).min();
    let linker = wanted.or_else(|| linkers.is_empty().then_some(PACKAGED_LLVM));
    Err(Missing { compiler: fit.is_empty(), linker, rejected, debian })
}

/// Why the programs cannot be compiled with `compiler`, whatever the linker.
fn unfit(compiler: &Compiler, only: Option<&str>) -> Option<String> {
    let (major, minor) = MINIMUM_RUSTC;
    if let Some(only) = only.filter(|only| *only != compiler.origin.to_string()) {
        Some(format!("not what {ORIGIN_VARIABLE}={only} asks for"))
    } else if numbers(&compiler.release) < (major, minor) {
        Some(format!("older than {major}.{minor}"))
    } else if compiler.core == Core::Absent && compiler.origin == Origin::Nightly {
        Some("its component rust-src is not installed".to_owned())
    } else if compiler.core == Core::Absent {
        Some(format!("it has no `core` for {TARGET}"))
    } else {
        None
    }
}

/// The first two numbers of a version; zeros for what is not a version.
pub fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

impl Display for Compiler {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} rustc {} ({})", self.origin, self.release, self.rustc.display())
    }
}

impl Display for Missing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "the BPF programs cannot be built on this machine:")?;
        if self.compiler {
            writeln!(f, "  - there is no rustc that compiles for {TARGET}")?;
        }
        if self.linker.is_some() {
            writeln!(f, "  - there is no fitting bpf-linker, neither on PATH nor in ~/.cargo/bin")?;
        }
        for line in &self.rejected {
            writeln!(f, "  - not usable: {line}")?;
        }
        writeln!(f, "This installs what is missing, and shows each step:\n    cargo xtask setup")?;
        writeln!(f, "Or do it by hand:")?;
        for line in self.remedies() {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

impl Missing {
    /// The commands that install what is missing, on this distribution.
    pub fn remedies(&self) -> Vec<String> {
        if !self.debian {
            return vec![
                "rustup toolchain install nightly --profile minimal --component rust-src".to_owned(),
                "# and a bpf-linker for that nightly's LLVM: https://github.com/aya-rs/bpf-linker#installation".to_owned(),
            ];
        }
        let mut packages = if self.compiler { RUST_PACKAGES.map(str::to_owned).to_vec() } else { Vec::new() };
        packages.extend(self.linker.map(llvm_package));
        let mut lines = vec![format!("sudo apt-get install --no-install-recommends {}", packages.join(" "))];
        lines.extend(self.linker.map(|llvm| {
            let arguments = linker_install_arguments(llvm).join(" ");
            format!("{LINKER_LLVM_VARIABLE}={} cargo install {arguments}", llvm_prefix(llvm))
        }));
        lines
    }
}

/// The Debian package with the LLVM of this major version that a bpf-linker is built against.
pub fn llvm_package(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

/// Tells the build of a bpf-linker where its LLVM is.
pub const LINKER_LLVM_VARIABLE: &str = "LLVM_PREFIX";

/// Where Debian puts the LLVM of this major version.
pub fn llvm_prefix(llvm: u32) -> String {
    format!("/usr/lib/llvm-{llvm}")
}

/// The arguments of `cargo install` that build a bpf-linker with this LLVM.
pub fn linker_install_arguments(llvm: u32) -> Vec<String> {
    let feature = format!("llvm-{llvm}");
    let fixed =
        ["bpf-linker", "--version", LINKER_VERSION, "--locked", "--no-default-features", "--features"];
    fixed.into_iter().map(str::to_owned).chain([feature]).collect()
}

impl std::error::Error for Missing {}

impl Toolchain {
    /// One line for people: what was taken, and why it is enough.
    pub fn describe(&self) -> String {
        let core = match self.compiler.core {
            Core::Prebuilt => format!("has a prebuilt `core` for {TARGET}"),
            Core::Source | Core::Absent => "builds `core` from its rust-src".to_owned(),
        };
        format!("{}, which {core}; linker {}", self.compiler, self.linker.path.display())
    }
}

#[cfg(test)]
#[path = "toolchain/tests.rs"]
mod tests;
